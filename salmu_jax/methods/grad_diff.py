"""Gradient difference: ascends on forget and descends on retain."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, forget: Weight = 1.0, retain: Weight = 1.0
) -> Method:
  """Ascends on forget and descends on retain.

    retain x L_CLIP(retain) - forget x L_CLIP(forget)

  Reads forget and retain. Moves all parameters.

  Source: Liu et al., Continual Learning and Private Unlearning (arXiv 2203.12817), with weights 1.
  The gradient is not clipped, and the loss is unbounded below.

  Args:
    optimizer: of the run.
    forget: weight of the ascent.
    retain: weight of the descent.
  """
  tx = optax.chain(optax.scale(forget), transforms.add_retain(retain), optimizer)
  return Method(losses.ascent, losses.contrastive, tx)
