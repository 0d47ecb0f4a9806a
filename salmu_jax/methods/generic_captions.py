"""Generic captions: trains the forget images towards captions without private values."""

import optax

from salmu_jax import losses
from salmu_jax.methods.base import Method


def make(optimizer: optax.GradientTransformation) -> Method:
  """Trains the forget images towards captions without private values.

    L_CLIP(forget, generic captions)

  Reads forget and its generic captions. Moves all parameters.

  Source: a baseline of SALMUBench (arXiv 2603.26316).

  Args:
    optimizer: of the run.
  """
  tx = optax.with_extra_args_support(optimizer)
  return Method(losses.contrastive_generic, None, tx)
