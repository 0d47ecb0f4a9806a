"""Minimising the cosine of the forget pairs directly."""

import optax

from salmu_jax import losses
from salmu_jax.methods.base import Method


def make(optimizer: optax.GradientTransformation) -> Method:
  """Descends on the mean cosine of the forget pairs; only the budget stops it above -1.

  A baseline of SALMUBench (arXiv 2603.26316). Reads forget. Moves all parameters.
  """
  tx = optax.with_extra_args_support(optimizer)
  return Method(losses.pair_similarity, None, tx)
