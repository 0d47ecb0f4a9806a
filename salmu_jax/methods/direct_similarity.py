"""Direct similarity: minimises the cosine of the forget pairs."""

import optax

from salmu_jax import losses
from salmu_jax.methods.base import Method


def make(optimizer: optax.GradientTransformation) -> Method:
  """Minimises the mean cosine of the forget pairs; only the budget stops it above -1.

    mean_i S_ii

  Reads forget. Moves all parameters.

  Source: a baseline of SALMUBench (arXiv 2603.26316).

  Args:
    optimizer: of the run.
  """
  tx = optax.with_extra_args_support(optimizer)
  return Method(losses.pair_similarity, None, tx)
