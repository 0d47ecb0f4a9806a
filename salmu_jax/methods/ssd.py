"""Selective synaptic dampening: one edit, no training."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation,
  *,
  steps: int,
  alpha: Weight = 10.0,
  strength: Weight = 1.0,
) -> Method:
  """Shrinks the weights whose squared gradients on forget exceed `alpha` times those on retain.

  Foster et al., Fast Machine Unlearning Without Retraining (AAAI 2024); their defaults are alpha 10
  and lambda (`strength`) 1. Nothing moves before the last step, and the optimizer is not used: the
  run reads batches for the statistics, so its budget is one pass (1x). Reads forget and retain.
  Moves the weights that are shrunk.
  """
  del optimizer
  tx = transforms.dampen(alpha, strength, steps)
  return Method(losses.contrastive, losses.contrastive, tx)
