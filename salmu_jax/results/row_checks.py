"""What a submitted results file has to agree with: its own rows, and the bounds it is judged by."""

import functools
import math
import operator

import numpy as np

from salmu_jax.evaluate import breakdown, metrics
from salmu_jax.results import schema, scores
from salmu_jax.results.reading import SAME
from salmu_jax.results.recoverability import REDUCTIONS

_ADDITIONAL, _RELEASE = ("salmu_jax", "additional"), ("salmu_jax", "release")
_GROUPS, _HITS = (*_ADDITIONAL, "rows", "groups"), (*_ADDITIONAL, "rows", "hits")
_ACS_ROWS, _PARTS = (*_ADDITIONAL, "rows", "ACS_rows"), (*_ADDITIONAL, "breakdown")
_MODEL, _ROLE, _START = (("salmu_jax", key) for key in ("model", "role", "start"))
_EVALUATION, _KNOWLEDGE = ("salmu_jax", "evaluation"), ("salmu_jax", "general_knowledge")
_GALLERY, _EXAMPLES = (*_RELEASE, "retrieval_gallery"), (*_ADDITIONAL, "examples")
_ATTACKS = ("salmu_jax", "attacks")
_RECOVERABILITY = (*_ADDITIONAL, "recoverability")
_BOUNDS = "as the leaderboard's Compromised has it"
_RANKS = ("efficacy", "1.1_RetFail", "outcomes")
_ROWS = {  # key of METRICS -> the rows that it is computed from
  key: _RANKS
  if key.startswith("RetFail")
  else (*metric.path[:-1], "scores")
  if metric.path[-1] == "mean"
  else (*_HITS, key)
  for key, metric in scores.METRICS.items()
}
_COUNTS = {  # rows -> which number of `salmu_jax.release` counts them
  _RANKS: ("counts", "forget"),
  _ROWS["AssocStr"]: ("counts", "forget"),
  _ROWS["CoreAssoc"]: ("counts", "forget"),
  _ROWS["InterIdSim"]: ("counts", "holdout_identity"),
  _ROWS["IntraIdSim"]: ("counts", "holdout_association"),
  _ROWS["VisIdInt"]: ("derived", "retain_joint"),
  _ROWS["FragSim"]: ("derived", "fragile_set"),
  _ROWS["ACS"]: ("counts", "forget"),
  _ACS_ROWS: ("counts", "forget"),
  _ROWS["IdZSC"]: ("derived", "forget_identity"),
  (*_GROUPS, "forget"): ("counts", "forget"),
  (*_GROUPS, "holdout_identity"): ("counts", "holdout_identity"),
  (*_GROUPS, "holdout_association"): ("counts", "holdout_association"),
  (*_GROUPS, "forget_identity"): ("derived", "forget_identity"),
  (*_GROUPS, "retain_joint"): ("derived", "retain_joint"),
  (*_GROUPS, "fragile_set"): ("derived", "fragile_set"),
}
_SAME = [(*_RELEASE, key) for key in SAME]


def problems(result, compromised, taken):
  """What is wrong with a results file.

  A check runs where nothing that it looks at was found wrong before: one fault is one problem.

  Args:
    result: what `schema.read` returns.
    compromised: the results of the leaderboard's Compromised; None where there are none.
    taken: names, in small letters, that the model cannot have.

  Returns:
    {path in the file: what was found; what would be right}.
  """
  out = dict(schema.invalid(result)) | dict(schema.unfit(result))
  for looks_at, check in _checks(result, compromised, taken):
    if not any(_overlap(path, where) for path in out for where in looks_at):
      for path, words in check:
        out.setdefault(path, words)
  return out


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
    for where in ((*_RELEASE, "counts"), (*_RELEASE, "derived")):
      yield [where, *_SAME], _as_judged(result, compromised, where)
  for where, count in _COUNTS.items():
    yield [where, (*_RELEASE, *count)], _length(result, where, (*_RELEASE, *count))
  yield [_ROWS["GenKnow"], _GROUPS], _zero_shot(result)
  for where, limit in ((_RANKS, _GALLERY), (_ACS_ROWS, (*_RELEASE, "counts", "forget"))):
    yield [where, limit], _below(result, where, limit)
  for key, metric in scores.METRICS.items():
    yield [metric.path, _ROWS[key]], _number(result, key)
  cosines = [_ROWS[key] for key in ("AssocStr", "InterIdSim", "IntraIdSim")]
  yield [_PARTS, _GROUPS, _RANKS, *cosines], _parts(result)
  yield [_RECOVERABILITY], _attacks_add_up(result)
  if compromised:
    yield [_GROUPS, _RELEASE, _KNOWLEDGE], _as_judged(result, compromised, _GROUPS)
    yield [_ACS_ROWS, _RELEASE, _EVALUATION], _as_judged(result, compromised, _ACS_ROWS)
    yield [_PARTS, _GROUPS, _RELEASE], _labels_as_judged(result, compromised)
    yield [_EXAMPLES, _RELEASE], _examples_as_judged(result, compromised)
    yield [_ATTACKS, _ADDITIONAL], _attacks_as_judged(result, compromised)


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


def _zero_shot(result):
  """The pictures of GenKnow have their classes."""
  hits = _at(result, _ROWS["GenKnow"]) or []
  classes = _at(result, _GROUPS).get("zero_shot", [])
  if len(hits) != len(classes):
    where = schema.dotted((*_GROUPS, "zero_shot"))
    yield (
      _ROWS["GenKnow"],
      f"found {len(hits)} rows; should be {len(classes)}, as many as in {where}",
    )


def _below(result, where, limit):
  """Numbers that count from 0 stay below how many there are."""
  most = _at(result, limit)
  for at, number in enumerate(_at(result, where)):
    if number >= most:
      yield (*where, at), f"found {number}; should be below {most}, {schema.dotted(limit)}"


def _number(result, key):
  """A number of METRICS follows from its rows."""
  path, where = scores.METRICS[key].path, _ROWS[key]
  value, rows = _at(result, path), _at(result, where)
  right = None if rows is None else _compute(key, rows)
  if not _same(value, right):
    yield path, f"{schema.found(value)}; its rows, {schema.dotted(where)}, give {right!r}"


def _compute(key, rows):
  if key == "RetFail_R@1":
    return metrics.recall_at(rows, 1)
  if key == "RetFail_MRR":
    return metrics.mean_reciprocal_rank(rows)
  return float(np.mean(rows, dtype=np.float64))


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
  rows = sum(part["rows"] for part in parts)
  means = {key for part in parts for key in part} - {"rows"}
  weighed = {key: sum(part["rows"] * part[key] for part in parts) / rows for key in means}
  return {"rows": rows, **weighed}


def _labels_as_judged(result, compromised):
  """The labels of the breakdown are those of the bounds, and on as many rows."""
  ours, theirs = (
    {
      split: {
        kind: {label: {"rows": part["rows"]} for label, part in parts.items()}
        for kind, parts in kinds.items()
      }
      for split, kinds in _at(each, _PARTS).items()
    }
    for each in (result, compromised)
  )
  yield from _differ(ours, theirs, _PARTS, _BOUNDS)


def _examples_as_judged(result, compromised):
  """The examples are of the rows that the bounds show, with their portraits."""
  given = ("split", "file_name", "name", "caption", "portrait")
  ours, theirs = (
    [{key: each[key] for key in given} for each in _at(one, _ADDITIONAL).get("examples", [])]
    for one in (result, compromised)
  )
  if ours:
    yield from _differ(ours, theirs, _EXAMPLES, _BOUNDS)


def _attacks_add_up(result):
  """The number of each attack follows from its parts."""
  for name, found in (_at(result, _ADDITIONAL).get("recoverability") or {}).items():
    where = (*_RECOVERABILITY, name, "value")
    if len(found) > 1 and not found.keys() & {"why", "reduction"}:
      continue  # of an older version, which did not name its parts
    try:
      parts = [] if "why" in found else list(found["parts"].values())
      expected = float(REDUCTIONS[found["reduction"]](parts)) if parts else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      yield (
        where,
        f"{schema.found(found['value'])}; should come with its parts ({error!r})",
      )
      continue
    if expected is None or found["value"] is None:
      fits = expected is found["value"]
    else:
      fits = math.isclose(expected, found["value"], rel_tol=1e-9)
    if not fits:
      yield where, f"{schema.found(found['value'])}; should be {expected}, as its parts have it"


def _attacks_as_judged(result, compromised):
  """Where the model was attacked, it was attacked as the bounds were."""
  if _at(result, _ADDITIONAL).get("recoverability"):
    ours, theirs = (each["salmu_jax"].get("attacks") for each in (result, compromised))
    yield from _differ(ours, theirs, _ATTACKS, _BOUNDS)


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
