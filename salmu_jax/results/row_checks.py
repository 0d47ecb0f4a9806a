"""What a submitted results file has to agree with: its own rows, and the bounds it is judged by."""

import functools
import math
import operator
from collections.abc import Collection, Mapping

from salmu_jax.results import breakdown, recoverability, schema, strict
from salmu_jax.results.lookup import required, rows_at, version_of
from salmu_jax.results.metrics_table import ADDITIONAL, METRICS
from salmu_jax.results.reading import SAME, attacked_with
from salmu_jax.results.reductions import reduce
from salmu_jax.results.splits import ZERO_SHOT, count_path, grouped

_RELEASE = ("salmu_jax", "release")
_GROUPS, _PARTS = (*ADDITIONAL, "rows", "groups"), (*ADDITIONAL, "breakdown")
_MODEL, _ROLE, _START = (("salmu_jax", key) for key in ("model", "role", "start"))
_EVALUATION, _KNOWLEDGE = ("salmu_jax", "evaluation"), ("salmu_jax", "general_knowledge")
_EXAMPLES = (*ADDITIONAL, "examples")
_ATTACKS = ("salmu_jax", "attacks")
_BOUNDS = "as the leaderboard's Compromised has it"
_SAME = [(*_RELEASE, key) for key in SAME]


def _counted(result):
  """{path of rows: path of the number of `salmu_jax.release` that counts them}."""
  counts = {}
  for metric in _metrics(result):
    # Of the zero-shot pictures the file has no count; their classes are counted instead. Of facts,
    # some are drawn.
    if metric.split != ZERO_SHOT and metric.kind != "share":
      for path in (metric.rows, metric.cases):
        if path:
          counts[path] = (*_RELEASE, *count_path(metric.split))
  for name in grouped(version_of(result)):
    counts[*_GROUPS, name] = (*_RELEASE, *count_path(name))
  return counts


def _metrics(result):
  """The metrics that a file has to hold, or holds all the same."""
  metrics = METRICS.values()
  return [m for m in metrics if required(m, result) or rows_at(result, m.path) is not None]


def problems(
  result: Mapping, compromised: Mapping | None, taken: Collection[str]
) -> dict[tuple, str]:
  """What is wrong with a results file.

  A check runs where nothing that it looks at was found wrong before: one fault is one problem.

  Args:
    result: what `strict.read` returns.
    compromised: the results of the leaderboard's Compromised; None where there are none.
    taken: names, in small letters, that the model cannot have.

  Returns:
    {path in the file: what was found; what would be right}.
  """
  wrong = dict(schema.invalid(result)) | dict(strict.unfit(result))
  for looks_at, check in _checks(result, compromised, taken):
    if not any(_overlap(path, where) for path in wrong for where in looks_at):
      for path, words in check:
        wrong.setdefault(path, words)
  return wrong


def _overlap(one, other):
  """Whether one path leads to the other, or both to the same."""
  return all(a == b for a, b in zip(one, other, strict=False))


def _checks(result, compromised, taken):
  """(paths that it looks at, its problems) of each check, which runs when it is asked."""
  yield [_MODEL], _name(result, taken)
  yield [_ROLE], _role(result)
  if compromised:
    yield [_START], _start(result, compromised)
    for where in (*_SAME, _EVALUATION, _KNOWLEDGE):
      yield [where], _as_judged(result, compromised, where)
    galleries = {metric.gallery for metric in _metrics(result) if metric.gallery}
    for where in ((*_RELEASE, "counts"), (*_RELEASE, "derived"), *sorted(galleries)):
      yield [where, *_SAME], _as_judged(result, compromised, where)
  for where, count in _counted(result).items():
    yield [where, count], _length(result, where, count)
  for metric in _metrics(result):
    yield from _checks_of_metric(result, metric)
  parts = [metric.rows for metric in _metrics(result) if metric.part]
  yield [_PARTS, _GROUPS, *parts], _parts(result)
  yield [recoverability.PATH], _attacks_add_up(result)
  if compromised:
    yield [_GROUPS, _RELEASE, _KNOWLEDGE], _as_judged(result, compromised, _GROUPS)
    for where in [metric.cases for metric in _metrics(result) if metric.cases]:
      yield [where, _RELEASE, _EVALUATION], _as_judged(result, compromised, where)
    yield [_PARTS, _GROUPS, _RELEASE], _labels_as_judged(result, compromised)
    yield [_EXAMPLES, _RELEASE], _examples_as_judged(result, compromised)
    yield [_ATTACKS, ADDITIONAL], _attacks_as_judged(result, compromised)


def _checks_of_metric(result, metric):
  """The checks of one metric: of its rows, of which row each is, and of the number they give."""
  if metric.split == ZERO_SHOT:
    yield [metric.rows, _GROUPS], _zero_shot(result, metric)
  if metric.gallery:
    yield [metric.rows, metric.gallery], _below(result, metric.rows, metric.gallery)
  if metric.cases:
    count = (*_RELEASE, *count_path(metric.split))
    yield [metric.cases, count], _below(result, metric.cases, count)
    yield [metric.rows, metric.cases], _one_each(result, metric)
  yield [metric.path, metric.rows], _number(result, metric)


def _name(result, taken):
  """The name is free, also where a file system takes capitals for small letters."""
  name = _at(result, _MODEL)
  if name.casefold() in taken:
    yield (
      _MODEL,
      f"{schema.found(name)}; should be a name that is not there yet: nothing is replaced",
    )


def _role(result):
  """Bounds are not submitted."""
  role = _at(result, _ROLE)
  if role != "unlearned":
    yield (
      _ROLE,
      f"{schema.found(role)}; should be 'unlearned': bounds come from the leaderboard's keeper",
    )


def _start(result, compromised):
  """Unlearning started from the leaderboard's Compromised, where that is known."""
  start, right = _at(result, _START), _at(compromised, _START)
  if start not in (None, right):
    yield _START, f"{schema.found(start)}; should be {schema.short(right)}, {_BOUNDS}, or null"


def _as_judged(result, compromised, where):
  """What the numbers depend on is as in the bounds."""
  advice = ""
  if where in _SAME:
    advice = ". Choose this release's leaderboard, or put Clean's and Compromised's results there"
  for path, words in _differ(_at(result, where), _at(compromised, where), where, _BOUNDS):
    yield path, words + advice


def _length(result, where, count):
  """There are as many rows as the release has."""
  rows, right = len(_at(result, where)), _at(result, count)
  if rows != right:
    yield where, f"found {rows} rows; should be {right}, as {schema.dotted(count)} says"


def _zero_shot(result, metric):
  """The pictures of the zero-shot test have their classes."""
  hits = _at(result, metric.rows) or []
  classes = _at(result, _GROUPS).get(ZERO_SHOT, [])
  if len(hits) != len(classes):
    where = schema.dotted((*_GROUPS, ZERO_SHOT))
    yield (
      metric.rows,
      f"found {len(hits)} rows; should be {len(classes)}, as many as in {where}",
    )


def _one_each(result, metric):
  """Each entry of a metric's rows says which row it is of."""
  rows, cases = (_at(result, where) or [] for where in (metric.rows, metric.cases))
  if len(rows) != len(cases):
    where = schema.dotted(metric.cases)
    yield metric.rows, f"found {len(rows)} rows; should be {len(cases)}, as many as in {where}"


def _below(result, where, limit):
  """Numbers that count from 0 stay below how many there are."""
  most = _at(result, limit)
  for at, number in enumerate(_at(result, where) or []):
    if number >= most:
      yield (*where, at), f"found {number}; should be below {most}, {schema.dotted(limit)}"


def _number(result, metric):
  """A number of the metrics table follows from its rows."""
  value, rows = _at(result, metric.path), _at(result, metric.rows)
  right = None if rows is None else reduce(metric.reduction, rows)
  if not _same(value, right):
    yield (
      metric.path,
      f"{schema.found(value)}; its rows, {schema.dotted(metric.rows)}, give {right!r}",
    )


def _same(one, other):
  """Whether two numbers are equal, but for the order in which their rows are summed."""
  if one is None or other is None:
    return one is other
  return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _parts(result):
  """The breakdown has the rows and the means: of each person, and of a kind's labels together."""
  groups, tables = _at(result, _GROUPS), _at(result, _PARTS)
  labels = {
    split: {"identity": groups[split], "all": [""] * len(groups[split])} for split in tables
  }
  for split, right in breakdown.measure(result, labels).items():
    for kind, parts in tables[split].items():
      where = (*_PARTS, split, kind)
      if kind == "identity":
        yield from _differ(parts, right[kind], where, "as the rows give")
      else:
        yield from _differ(_together(parts.values()), right["all"][""], where, "as all rows give")


def _together(parts):
  """The parts of a kind as one."""
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


def _labels_as_judged(result, compromised):
  """The labels of the breakdown are those of the bounds, and on as many rows."""
  ours, theirs = (
    {
      split: {
        kind: {label: {"rows": part["rows"]} for label, part in parts.items()}
        for kind, parts in kinds.items()
      }
      for split, kinds in _at(judged, _PARTS).items()
    }
    for judged in (result, compromised)
  )
  yield from _differ(ours, theirs, _PARTS, _BOUNDS)


def _examples_as_judged(result, compromised):
  """The examples are of the rows that the bounds show, with their portraits."""
  shown = ("split", "file_name", "name", "caption", "portrait")
  ours, theirs = (
    [{key: row[key] for key in shown} for row in _at(judged, ADDITIONAL).get("examples", [])]
    for judged in (result, compromised)
  )
  if ours:
    yield from _differ(ours, theirs, _EXAMPLES, _BOUNDS)


def _attacks_add_up(result):
  """The number of each attack is that of its parts."""
  for path, value, expected in recoverability.mismatches(result):
    yield path, f"{schema.found(value)}; should be {expected}, as its parts have it"


def _attacks_as_judged(result, compromised):
  """Each attack on the model states its settings; they are those of the attack on the bounds."""
  ours, theirs = attacked_with(result), attacked_with(compromised)
  for name in _at(result, ADDITIONAL).get("recoverability") or {}:
    if name not in ours:
      yield _ATTACKS, f"does not name {name}; should name it, and hold its settings, {_BOUNDS}"
    elif name in theirs:
      yield from _differ(ours[name], theirs[name], (*_ATTACKS, name.lower()), _BOUNDS)


def _differ(ours, theirs, path, whose):
  """(path, words) of each place where `ours` is not as `theirs`."""
  if isinstance(ours, dict) and isinstance(theirs, dict):
    for key in sorted(ours.keys() | theirs.keys()):
      if key not in ours:
        yield (*path, key), f"missing; should be there, {whose}"
      elif key not in theirs:
        yield (*path, key), f"{schema.found(ours[key])}; should be left out, {whose}"
      else:
        yield from _differ(ours[key], theirs[key], (*path, key), whose)
  elif isinstance(ours, list) and isinstance(theirs, list):
    if len(ours) != len(theirs):
      yield path, f"{schema.found(ours)}; should be a list of {len(theirs)}, {whose}"
    else:
      for at, pair in enumerate(zip(ours, theirs, strict=True)):
        yield from _differ(*pair, (*path, at), whose)
  elif not (
    _same(ours, theirs)
    if isinstance(ours, float) and isinstance(theirs, int | float)
    else ours == theirs
  ):
    yield path, f"{schema.found(ours)}; should be {schema.short(theirs)}, {whose}"


def _at(result, path):
  return functools.reduce(operator.getitem, path, result)
