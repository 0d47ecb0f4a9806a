"""Selective synaptic dampening: one edit, no training."""

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method


def make(optimizer, *, steps, alpha=10.0, strength=1.0):
  """Shrinks the weights whose squared gradients on forget exceed `alpha` times those on retain.

  Foster et al., Fast Machine Unlearning Without Retraining (AAAI 2024); their defaults are alpha 10
  and lambda (`strength`) 1. Nothing moves before the last step, and the optimizer is not used: the
  run reads batches for the statistics, so its budget is one pass (1x). Reads forget and retain.
  Moves the weights that are shrunk.
  """
  del optimizer
  tx = transforms.dampen(alpha, strength, steps)
  return Method(losses.contrastive, losses.contrastive, tx)
