"""Gradient difference: up on forget, down on retain."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, forget: Weight = 1.0, retain: Weight = 1.0
) -> Method:
  """Descends on retain x L_CLIP(retain) - forget x L_CLIP(forget).

  Liu et al., Continual Learning and Private Unlearning (arXiv 2203.12817), weights 1. Unclipped,
  and unbounded below. Reads forget and retain. Moves all parameters.
  """
  tx = optax.chain(optax.scale(forget), transforms.add_retain(retain), optimizer)
  return Method(losses.ascent, losses.contrastive, tx)
