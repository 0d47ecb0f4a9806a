"""Selective synaptic dampening (SSD): one edit of the weights, no training."""

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
  """Shrinks the weights that matter much more for forget than for retain.

    where F_forget > alpha F_retain:  theta <- min(strength F_retain / F_forget, 1) theta

  F are the sums of squared batch gradients of L_CLIP. Reads forget and retain. Moves the weights
  that are shrunk, only in the last step. The optimizer is not used: the run reads batches for the
  statistics, so its budget is one pass (1x).

  Source: Foster et al., Fast Machine Unlearning Without Retraining (AAAI 2024, arXiv 2308.07707);
  their defaults are alpha 10 and lambda (`strength`) 1. They measure F_retain on the whole training
  data.

  Args:
    optimizer: not used.
    steps: of the run.
    alpha: ratio of F above which a weight is shrunk.
    strength: lambda in the paper; a smaller one shrinks more.
  """
  del optimizer
  tx = transforms.dampen(alpha, strength, steps)
  return Method(losses.contrastive, losses.contrastive, tx)
