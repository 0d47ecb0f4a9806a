"""Checks that a results file agrees with itself: numbers, their rows, counts and intervals."""

import functools
import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from salmu_jax.results import breakdown, recoverability, schema
from salmu_jax.results.lookup import required, rows_at, version_of
from salmu_jax.results.metrics_table import ADDITIONAL, METRICS, Metric
from salmu_jax.results.reductions import reduce
from salmu_jax.results.splits import ZERO_SHOT, count_path, grouped

Path = tuple[str | int, ...]
# The paths that a check reads, and its problems (path, words), which are found lazily.
Check = tuple[list[Path], Iterable[tuple[Path, str]]]

RELEASE = ("salmu_jax", "release")
GROUPS, PARTS = (*ADDITIONAL, "rows", "groups"), (*ADDITIONAL, "breakdown")


def add_problems(wrong: dict[Path, str], checks: Iterable[Check]) -> None:
  """Runs checks, except those that read something already known to be wrong.

  Args:
    wrong: {path: words}; the problems are added to it.
  """
  for looks_at, check in checks:
    if not any(_overlap(path, where) for path in wrong for where in looks_at):
      for path, words in check:
        wrong.setdefault(path, words)


def checks(result: Mapping, *, whole: bool) -> Iterator[Check]:
  """The checks of a file against itself.

  Args:
    result: a results file. What the schema finds wrong or missing in it is not checked.
    whole: whether it must hold the parts of attack numbers and of the breakdown, which files of
      older versions lack.
  """
  for where, count in _counted(result).items():
    yield [where, count], _length(result, where, count)
  for metric in metrics_of(result):
    yield from _checks_of_metric(result, metric)
  if whole:
    broken_down = [metric for metric in metrics_of(result) if metric.part]
    parts = [path for metric in broken_down for path in (metric.rows, metric.cases) if path]
    yield [PARTS, GROUPS, *parts], _parts(result)
  yield [recoverability.PATH], _attacks_add_up(result, whole)
  yield [recoverability.PATH], _intervals(result)


def _overlap(one, other):
  """Whether one path is a prefix of the other, or both are equal."""
  return all(a == b for a, b in zip(one, other, strict=False))


def metrics_of(result: Mapping) -> list[Metric]:
  """The metrics that a file must hold, and further ones that it holds."""
  metrics = METRICS.values()
  return [m for m in metrics if required(m, result) or rows_at(result, m.path) is not None]


def _counted(result):
  """{path of rows: path of the number of `salmu_jax.release` that counts them}."""
  counts = {}
  for metric in metrics_of(result):
    # The file does not count zero-shot images, so their classes are counted instead. Of the facts,
    # only a random subset has rows.
    if metric.split != ZERO_SHOT and metric.kind != "share":
      for path in (metric.rows, metric.cases):
        if path:
          counts[path] = (*RELEASE, *count_path(metric.split))
  for name in grouped(version_of(result)):
    counts[*GROUPS, name] = (*RELEASE, *count_path(name))
  return counts


def _checks_of_metric(result, metric):
  """The checks of one metric: of its rows, its cases and its number."""
  if metric.split == ZERO_SHOT:
    yield [metric.rows, GROUPS], _zero_shot(result, metric)
  if metric.gallery:
    yield [metric.rows, metric.gallery], _below(result, metric.rows, metric.gallery)
  if metric.cases:
    count = (*RELEASE, *count_path(metric.split))
    yield [metric.cases, count], _below(result, metric.cases, count)
    yield [metric.rows, metric.cases], _one_each(result, metric)
  yield [metric.path, metric.rows], _number(result, metric)


def _length(result, where, count):
  """There are as many rows as the release has."""
  rows, right = len(value_at(result, where)), value_at(result, count)
  if rows != right:
    yield where, f"found {rows} rows; should be {right}, as {schema.dotted(count)} says"


def _zero_shot(result, metric):
  """The pictures of the zero-shot test have their classes."""
  hits = value_at(result, metric.rows) or []
  classes = value_at(result, GROUPS).get(ZERO_SHOT, [])
  if len(hits) != len(classes):
    where = schema.dotted((*GROUPS, ZERO_SHOT))
    yield (
      metric.rows,
      f"found {len(hits)} rows; should be {len(classes)}, as many as in {where}",
    )


def _one_each(result, metric):
  """Each entry of a metric's rows says which row it is of."""
  rows, cases = (value_at(result, where) or [] for where in (metric.rows, metric.cases))
  if len(rows) != len(cases):
    where = schema.dotted(metric.cases)
    yield metric.rows, f"found {len(rows)} rows; should be {len(cases)}, as many as in {where}"


def _below(result, where, limit):
  """Numbers that count from 0 stay below how many there are."""
  most = value_at(result, limit)
  for at, number in enumerate(value_at(result, where) or []):
    if number >= most:
      yield (*where, at), f"found {number}; should be below {most}, {schema.dotted(limit)}"


def _number(result, metric):
  """A number of the metrics table follows from its rows."""
  value, rows = value_at(result, metric.path), value_at(result, metric.rows)
  right = None if rows is None else reduce(metric.reduction, rows)
  if not _same(value, right):
    yield (
      metric.path,
      f"{schema.found(value)}; its rows, {schema.dotted(metric.rows)}, give {right!r}",
    )


def _same(one, other):
  """Whether two numbers are equal up to the order in which their rows are summed."""
  if one is None or other is None:
    return one is other
  return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _parts(result):
  """The breakdown agrees with the rows: for each person, and for the labels of a kind together."""
  groups, tables = value_at(result, GROUPS), value_at(result, PARTS)
  labels = {
    split: {"identity": groups[split], "all": [""] * len(groups[split])} for split in tables
  }
  for split, right in breakdown.measure(result, labels).items():
    for kind, parts in tables[split].items():
      where = (*PARTS, split, kind)
      if kind == "identity":
        yield from differ(parts, right[kind], where, "as the rows give")
      else:
        yield from differ(_together(parts.values()), right["all"][""], where, "as all rows give")


def _together(parts):
  """The parts of a kind, merged."""
  together = {}
  counts = {key: breakdown.count_of(key) for part in parts for key in part}
  for key, count in counts.items():
    there = [part for part in parts if key in part]
    weights = [part.get(count, part["rows"]) for part in there]
    weighed = sum(weight * part[key] for weight, part in zip(weights, there, strict=True))
    together[key] = weighed / sum(weights)
  for key in ("rows", *(count for count in counts.values() if count in counts)):
    together[key] = sum(part.get(key, 0) for part in parts)
  return together


def _attacks_add_up(result, whole):
  """The number of each attack follows from its parts."""
  for path, value, expected in recoverability.mismatches(result):
    if whole or "parts" in value_at(result, path[:-1]):
      yield path, f"{schema.found(value)}; should be {expected}, as its parts give"


def _intervals(result):
  """The interval of an attack contains its number."""
  for key, attack in (rows_at(result, recoverability.PATH) or {}).items():
    value, interval = attack.get("value"), attack.get("interval")
    if value is None or interval is None:
      continue
    low, high = interval
    slack = 1e-9  # of summing in another order
    if not low - slack <= value <= high + slack:
      yield (
        (*recoverability.PATH, key, "interval"),
        f"found {low} to {high}; should contain the attack's value, {value}",
      )


def differ(ours: Any, theirs: Any, path: Path, whose: str) -> Iterator[tuple[Path, str]]:
  """(path, words) of each place where `ours` is not as `theirs`."""
  if isinstance(ours, dict) and isinstance(theirs, dict):
    for key in sorted(ours.keys() | theirs.keys()):
      if key not in ours:
        yield (*path, key), f"missing; should be there, {whose}"
      elif key not in theirs:
        yield (*path, key), f"{schema.found(ours[key])}; should be left out, {whose}"
      else:
        yield from differ(ours[key], theirs[key], (*path, key), whose)
  elif isinstance(ours, list) and isinstance(theirs, list):
    if len(ours) != len(theirs):
      yield path, f"{schema.found(ours)}; should be a list of {len(theirs)}, {whose}"
    else:
      for at, pair in enumerate(zip(ours, theirs, strict=True)):
        yield from differ(*pair, (*path, at), whose)
  elif not (
    _same(ours, theirs)
    if isinstance(ours, float) and isinstance(theirs, int | float)
    else ours == theirs
  ):
    yield path, f"{schema.found(ours)}; should be {schema.short(theirs)}, {whose}"


def value_at(result: Any, path: Path) -> Any:
  """The value at a path that exists."""
  return functools.reduce(operator.getitem, path, result)
