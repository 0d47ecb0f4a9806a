"""What `config.evaluate` must be."""

from collections.abc import Callable

from ml_collections import ConfigDict

from salmu_jax import fields
from salmu_jax.data import texts
from salmu_jax.errors import InputError
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.measures import CANDIDATES
from salmu_jax.models.presets import COMPUTE_DTYPES

# Scikit-learn's solvers of logistic regression, without the ones that draw at random.
SOLVERS = ("lbfgs", "liblinear", "newton-cg", "newton-cholesky")


def check(settings: ConfigDict, check_batch: Callable[[str, int], None]) -> None:
  """Raises InputError for the first impossible field of `config.evaluate`.

  Args:
    settings: `config.evaluate`.
    check_batch: check_batch(field, batch_size), see `sharding.check_batch`.
  """
  where = "config.evaluate"
  fields.check_name(f"{where}.compute_dtype", settings.compute_dtype, COMPUTE_DTYPES)
  check_batch("evaluate.batch_size", settings.batch_size)
  fields.check_positive(settings, where, "gallery", "facts", "rivals")
  fields.check_seed(f"{where}.seed", settings.seed)
  fields.check_name(f"{where}.probe.feature", settings.probe.feature, metrics.FEATURES)
  fields.check_name(f"{where}.probe.solver", settings.probe.solver, SOLVERS)
  fields.check_positive(settings.probe, f"{where}.probe", "c", "max_iter")
  fields.check_name(f"{where}.name_candidates", settings.name_candidates, CANDIDATES)
  if not texts.takes_a_name(settings.name_prompt):
    raise InputError(
      f"{where}.name_prompt = {settings.name_prompt!r} must hold one {{}}, where the name of the "
      "person goes, and no other braces."
    )
