"""What attacks got of a model, as its results file says: each attack describes itself there."""

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from salmu_jax.results.metrics_table import ADDITIONAL, number_at, rows_at

PATH = (*ADDITIONAL, "recoverability")
# How an attack's number follows from its parts.
REDUCTIONS = {"mean": np.mean, "max": np.max}


def attacks(results: Iterable[Mapping]) -> dict[str, str]:
  """The attacks on any of the models: {key of the attack: what its number is, for tables}.

  Lower is better, and Clean's number is the bound.

  Args:
    results: results files of models that compare.
  """
  labels: dict[str, str] = {}
  for result in results:
    for key, attack in (rows_at(result, PATH) or {}).items():
      labels[key] = attack.get("label") or labels.get(key, key)
  return labels


def values(result: Mapping, keys: Iterable[str]) -> dict[str, float | None]:
  """What attacks got of one model: {key: float, or None where it was not attacked}."""
  return {key: number_at(result, (*PATH, key, "value")) for key in keys}


def mismatches(result: Mapping) -> Iterator[tuple[tuple[str, ...], object, object]]:
  """The attacks whose number is not that of its parts: (path, number found, number of the parts).

  An attack that had nothing to attack says "why" and has no number.
  """
  for key, attack in (rows_at(result, PATH) or {}).items():
    parts, reduction = attack.get("parts"), attack.get("reduction")
    expected: object
    if "why" in attack:
      expected = None
    elif not parts or reduction not in REDUCTIONS:
      expected = "a number with `parts`, and a `reduction` of these"
    else:
      expected = float(REDUCTIONS[reduction](list(parts.values())))
    value = attack.get("value")
    equal = value is expected or (
      isinstance(value, float | int)
      and isinstance(expected, float)
      and math.isclose(value, expected, rel_tol=1e-9)
    )
    if not equal:
      yield (*PATH, key, "value"), value, expected
