"""MUNBa: ascent on forget and descent on retain, weighed by Nash bargaining."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method


def make(optimizer: optax.GradientTransformation) -> Method:
  """Descends on a_r x L_CLIP(retain) - a_f x L_CLIP(forget), with new weights in every step.

  Wu and Harandi, MUNBa (arXiv 2411.15537). Reads forget and retain. Moves all parameters.
  """
  return Method(losses.ascent, losses.contrastive, optax.chain(transforms.munba(), optimizer))
