"""The results of attacks on a model, in its results file; each attack describes itself there."""

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from salmu_jax.results.lookup import number_at, rows_at
from salmu_jax.results.metrics_table import ADDITIONAL

PATH = (*ADDITIONAL, "recoverability")
# How the number of an attack follows from its parts.
REDUCTIONS = {"mean": np.mean, "max": np.max}


def attacks(results: Iterable[Mapping]) -> dict[str, str]:
  """The attacks on any of the models: {key of the attack: what its number is, for tables}.

  Clean's number is the bound, see `better`.

  Args:
    results: results files of comparable models.
  """
  labels: dict[str, str] = {}
  for result in results:
    for key, attack in (rows_at(result, PATH) or {}).items():
      labels[key] = attack.get("label") or labels.get(key, key)
  return labels


def better(results: Iterable[Mapping]) -> dict[str, str]:
  """{key of the attack: "lower", or "equal" where a number below Clean's is as bad as one above}.

  Args:
    results: results files of comparable models; older ones omit it, which means "lower".
  """
  ways: dict[str, str] = {}
  for result in results:
    for key, attack in (rows_at(result, PATH) or {}).items():
      ways[key] = attack.get("better") or ways.get(key, "lower")
  return ways


def values(result: Mapping, keys: Iterable[str]) -> dict[str, float | None]:
  """The numbers of attacks on one model: {key: float, or None if the attack did not run}."""
  return {key: number_at(result, (*PATH, key, "value")) for key in keys}


def mismatches(result: Mapping) -> Iterator[tuple[tuple[str, ...], object, object]]:
  """The attacks whose number does not follow from its parts: (path, number found, right number).

  An attack that had nothing to attack states "why" and has no number.
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
