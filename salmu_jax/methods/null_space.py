"""Ascent on forget inside the null space of retain gradients."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Count, Positive


def make(
  optimizer: optax.GradientTransformation, *, rank: Count = 8, max_norm: Positive = 1.0
) -> Method:
  """Ascends on forget, with updates projected out of the span of `rank` retain gradients.

  After Saha et al., Gradient Projection Memory (arXiv 2103.09762): to first order the retain loss
  stays as it was. The state holds `rank` copies of the parameters. Clipped as `negative_gradient`.
  Reads forget, and retain once before the first step. Moves all parameters.
  """
  clip = optax.clip_by_global_norm(max_norm)
  tx = optax.chain(clip, optimizer, transforms.project_out(rank))
  return Method(losses.ascent, losses.contrastive, tx, prepares=(transforms.find_basis(rank),))
