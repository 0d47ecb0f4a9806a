"""Null space: ascends on forget within the null space of retain gradients."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Count, Positive


def make(
  optimizer: optax.GradientTransformation, *, rank: Count = 8, max_norm: Positive = 1.0
) -> Method:
  """Ascends on forget, with updates projected out of the span of `rank` retain gradients.

    -L_CLIP(forget),    u <- u - sum_k <u, b_k> b_k    after the optimizer

  The b_k are orthonormal and span the retain gradients, so to first order the retain loss stays
  where it was. The gradient is clipped as in `negative_gradient`. The state holds `rank` copies of
  the parameters. Reads forget, and retain once before the first step. Moves all parameters.

  Source: after Saha et al., Gradient Projection Memory (arXiv 2103.09762).

  Args:
    optimizer: of the run.
    rank: number of retain gradients.
    max_norm: largest global norm of the gradient.
  """
  clip = optax.clip_by_global_norm(max_norm)
  tx = optax.chain(clip, optimizer, transforms.project_out(rank))
  return Method(losses.ascent, losses.contrastive, tx, prepares=(transforms.find_basis(rank),))
