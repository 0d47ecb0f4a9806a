"""What attacks got of a model, as its results file says: each attack describes itself there."""

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from salmu_jax.results.lookup import number_at, rows_at
from salmu_jax.results.metrics_table import ADDITIONAL

PATH = (*ADDITIONAL, "recoverability")
# How an attack's number follows from its parts.
REDUCTIONS = {"mean": np.mean, "max": np.max}


def attacks(results: Iterable[Mapping]) -> dict[str, str]:
  """The attacks on any of the models: {key of the attack: what its number is, for tables}.

  Clean's number is the bound, see `better`.

  Args:
    results: results files of models that compare.
  """
  labels: dict[str, str] = {}
  for result in results:
    for key, attack in (rows_at(result, PATH) or {}).items():
      labels[key] = attack.get("label") or labels.get(key, key)
  return labels


def better(results: Iterable[Mapping]) -> dict[str, str]:
  """{key of the attack: "lower", or "equal" where a number below Clean's is as bad as one above}.

  Args:
    results: results files of models that compare; older ones do not say it, and mean "lower".
  """
  ways: dict[str, str] = {}
  for result in results:
    for key, attack in (rows_at(result, PATH) or {}).items():
      ways[key] = attack.get("better") or ways.get(key, "lower")
  return ways


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
