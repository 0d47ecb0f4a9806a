"""Gradient surgery: ascent on forget without what would hurt retain."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, forget: Weight = 1.0, retain: Weight = 1.0
) -> Method:
  """Descends on retain x L_CLIP(retain) - forget x L_CLIP(forget), without conflicts.

  The part of the forget gradient that points against the retain gradient is taken out. Yu et
  al., Gradient Surgery for Multi-Task Learning (arXiv 2001.06782). Reads forget and retain. Moves
  all parameters.
  """
  tx = optax.chain(
    optax.scale(forget), transforms.project_conflicts(), transforms.add_retain(retain), optimizer
  )
  return Method(losses.ascent, losses.contrastive, tx)
