"""MUNBa: ascends on forget and descends on retain, weighed by Nash bargaining."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method


def make(optimizer: optax.GradientTransformation) -> Method:
  """Ascends on forget and descends on retain, with weights from Nash bargaining in every step.

    a_r L_CLIP(retain) - a_f L_CLIP(forget),    a_k = 1 / (|g_k| sqrt(1 + cos))

  g_k is the gradient of each loss and cos their cosine, bounded below by -0.99
  (`transforms.munba`). Reads forget and retain. Moves all parameters.

  Source: Wu and Harandi, MUNBa (arXiv 2411.15537).

  Args:
    optimizer: of the run.
  """
  return Method(losses.ascent, losses.contrastive, optax.chain(transforms.munba(), optimizer))
