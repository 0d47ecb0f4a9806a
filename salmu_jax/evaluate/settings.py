"""Ranges and checks of `config.evaluate`."""

from collections.abc import Callable

from ml_collections import ConfigDict

from salmu_jax.data import texts
from salmu_jax.errors import InputError
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.measures import CANDIDATES
from salmu_jax.models.presets import COMPUTE_DTYPES
from salmu_jax.ranges import OneOf, Range, Text, Whole

RANGES = {
  "seed": Whole(0, 2**32 - 1),  # as numpy's generators take
  "gallery": Whole(1),
  "name_prompt": Text(),
  "name_candidates": OneOf(CANDIDATES),
  "probe": {
    "feature": OneOf(metrics.FEATURES),
    # Scikit-learn's solvers of logistic regression, without the ones that draw at random.
    "solver": OneOf(("lbfgs", "liblinear", "newton-cg", "newton-cholesky")),
    "max_iter": Whole(1),
    "c": Range(0, 10**12, above=True),
  },
  "facts": Whole(1),
  "rivals": Whole(1),
  "batch_size": Whole(1, 2**20),
  "compute_dtype": OneOf(COMPUTE_DTYPES),
}


def check(settings: ConfigDict, check_batch: Callable[[str, int], None]) -> None:
  """Raises InputError for faults that the ranges of `config.evaluate` miss.

  Args:
    settings: `config.evaluate`, whose fields are in their ranges.
    check_batch: check_batch(field, batch_size), see `sharding.check_batch`.
  """
  check_batch("evaluate.batch_size", settings.batch_size)
  if not texts.takes_a_name(settings.name_prompt):
    raise InputError(
      f"config.evaluate.name_prompt = {settings.name_prompt!r} must hold one {{}}, where the name "
      "of the person goes, and no other braces."
    )
