"""Gradient surgery: ascends on forget without the part of the gradient that hurts retain."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, forget: Weight = 1.0, retain: Weight = 1.0
) -> Method:
  """Ascends on forget without the part of the gradient that points against retain's.

    u = f - min(<f, r>, 0) / <r, r> r + retain x r,    f the gradient of -forget x L_CLIP(forget)

  r is the gradient of L_CLIP(retain). Reads forget and retain. Moves all parameters.

  Source: Yu et al., Gradient Surgery for Multi-Task Learning (arXiv 2001.06782). They project both
  gradients; here only that of forget is projected.

  Args:
    optimizer: of the run; it gets u as the gradient.
    forget: weight of the ascent.
    retain: weight of the descent.
  """
  tx = optax.chain(
    optax.scale(forget), transforms.project_conflicts(), transforms.add_retain(retain), optimizer
  )
  return Method(losses.ascent, losses.contrastive, tx)
