"""Reads and writes numbers and rows of a results file at the paths of the metrics table."""

from collections.abc import Mapping
from typing import Any

from salmu_jax.errors import InputError
from salmu_jax.results.metrics_table import METRICS, Metric, Path


def version_of(result: Any) -> int:
  """The version of a results file; files of version 1 do not state it."""
  version = rows_at(result, ("salmu_jax", "file_version"))
  return version if isinstance(version, int) else 1


def required(metric: Metric, result: Mapping) -> bool:
  """Whether a results file must hold a metric; an older file may lack it."""
  return metric.since <= version_of(result)


def flatten(results: Mapping) -> dict[str, float | None]:
  """The metrics of one results file, by the keys of METRICS.

  Args:
    results: the parsed JSON, in the released evaluator's shape; other keys are ignored.

  Returns:
    {key of METRICS: float, or None if the file has no number}. The released evaluator's number for
    "not measured" (`Metric.absent`) becomes None too.

  Raises:
    InputError: a section is missing or a value is not a number.
  """
  for section in ("efficacy", "utility"):
    if not isinstance(results.get(section), Mapping):
      raise InputError(
        f"results: no section {section!r}, found {', '.join(map(repr, results)) or 'nothing'}; a "
        "results file has the sections 'efficacy' and 'utility'."
      )
  values = {key: number_at(results, metric.path) for key, metric in METRICS.items()}
  return {
    key: None if value is not None and value == METRICS[key].absent else value
    for key, value in values.items()
  }


def number_at(results: Mapping, path: Path) -> float | None:
  """The number at a path; None if a key is missing or the value is null.

  Raises:
    InputError: the value is not a number, or one on the way to it is not an object.
  """
  value = results
  for depth, key in enumerate(path):
    if not isinstance(value, Mapping):
      raise InputError(
        f"results: {'/'.join(path[:depth])} is {value!r}; it must be an object with the key "
        f"{key!r}."
      )
    value = value.get(key)
    if value is None:
      return None
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise InputError(f"results: {'/'.join(path)} is {value!r}; it must be a number or null.")
  return float(value)


def rows_at(results: Any, path: Path) -> Any:
  """The value at a path, such as the rows of a metric; None if the file lacks it."""
  value = results
  for key in path:
    value = value.get(key) if isinstance(value, Mapping) else None
  return value


def put(results: dict, path: Path, value: Any) -> None:
  """Sets the value at a path, and creates missing objects on the way."""
  for key in path[:-1]:
    results = results.setdefault(key, {})
  results[path[-1]] = value


def distance(
  metric: Metric, value: float | None, clean: float | None, compromised: float | None
) -> float | None:
  """The distance of a value from the bound that the metric is judged by.

  Args:
    metric: a row of METRICS. value: the model's. clean, compromised: the bounds' values.

  Returns:
    value minus the bound, or None if either is missing.
  """
  bound = {"clean": clean, "compromised": compromised}[metric.bound]
  return None if value is None or bound is None else value - bound


def distances(
  values: Mapping[str, float | None],
  clean: Mapping[str, float | None],
  compromised: Mapping[str, float | None],
) -> dict[str, float | None]:
  """The `distance` of every metric, from the values of a model and of its two bounds."""
  return {
    key: distance(metric, values[key], clean[key], compromised[key])
    for key, metric in METRICS.items()
  }


def compat(results: Mapping) -> dict[str, dict]:
  """Results in exactly the released evaluator's layout, with its number for "not measured"."""
  released = {pillar: dict(results[pillar]) for pillar in ("efficacy", "utility")}
  for metric in METRICS.values():
    if metric.absent is not None and number_at(results, metric.path) is None:
      pillar, id, key = metric.path
      released[pillar][id] = {**released[pillar][id], key: metric.absent}
  return released
