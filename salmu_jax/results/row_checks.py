"""Checks that a submitted results file agrees with itself and with its bounds."""

from collections.abc import Collection, Mapping

from salmu_jax.results import coherence, recoverability, schema, strict
from salmu_jax.results.coherence import differ, metrics_of, value_at
from salmu_jax.results.metrics_table import ADDITIONAL
from salmu_jax.results.reading import SAME, attacked_with

_RELEASE, _GROUPS, _PARTS = coherence.RELEASE, coherence.GROUPS, coherence.PARTS
_MODEL, _ROLE, _START = (("salmu_jax", key) for key in ("model", "role", "start"))
_EVALUATION, _KNOWLEDGE = ("salmu_jax", "evaluation"), ("salmu_jax", "general_knowledge")
_EXAMPLES = (*ADDITIONAL, "examples")
_ATTACKS = ("salmu_jax", "attacks")
_BOUNDS = "as in the leaderboard's Compromised"
_SAME = [(*_RELEASE, key) for key in SAME]


def problems(
  result: Mapping, compromised: Mapping | None, taken: Collection[str]
) -> dict[tuple, str]:
  """The problems of a results file.

  A check is skipped if something that it reads is already known to be wrong, so that one fault
  gives one problem.

  Args:
    result: what `strict.read` returns.
    compromised: the results of the leaderboard's Compromised; None without.
    taken: names in lower case that the model cannot have.

  Returns:
    {path in the file: what was found; what would be right}.
  """
  wrong = dict(schema.invalid(result)) | dict(strict.unfit(result))
  coherence.add_problems(wrong, _checks(result, compromised, taken))
  return wrong


def _checks(result, compromised, taken):
  """(paths that it reads, its problems) of each check, which runs lazily."""
  yield [_MODEL], _name(result, taken)
  yield [_ROLE], _role(result)
  if compromised:
    yield [_START], _start(result, compromised)
    for where in (*_SAME, _EVALUATION, _KNOWLEDGE):
      yield [where], _as_judged(result, compromised, where)
    galleries = {metric.gallery for metric in metrics_of(result) if metric.gallery}
    for where in ((*_RELEASE, "counts"), (*_RELEASE, "derived"), *sorted(galleries)):
      yield [where, *_SAME], _as_judged(result, compromised, where)
  yield from coherence.checks(result, whole=True)
  if compromised:
    yield [_GROUPS, _RELEASE, _KNOWLEDGE], _as_judged(result, compromised, _GROUPS)
    for where in [metric.cases for metric in metrics_of(result) if metric.cases]:
      yield [where, _RELEASE, _EVALUATION], _as_judged(result, compromised, where)
    yield [_PARTS, _GROUPS, _RELEASE], _labels_as_judged(result, compromised)
    yield [_EXAMPLES, _RELEASE], _examples_as_judged(result, compromised)
    yield [_ATTACKS, ADDITIONAL], _attacks_as_judged(result, compromised)
    yield [recoverability.PATH, _ATTACKS], _attacks_described(result, compromised)


def _name(result, taken):
  """The name is free, also on a file system that ignores case."""
  name = value_at(result, _MODEL)
  if name.casefold() in taken:
    yield (
      _MODEL,
      f"{schema.found(name)}; should be a new name: a submission replaces nothing",
    )


def _role(result):
  """The model is not a bound."""
  role = value_at(result, _ROLE)
  if role != "unlearned":
    yield (
      _ROLE,
      f"{schema.found(role)}; should be 'unlearned': bounds come from the leaderboard's maintainer",
    )


def _start(result, compromised):
  """Unlearning started from the leaderboard's Compromised, if the start is known."""
  start, right = value_at(result, _START), value_at(compromised, _START)
  if start not in (None, right):
    yield _START, f"{schema.found(start)}; should be {schema.short(right)}, {_BOUNDS}, or null"


def _as_judged(result, compromised, where):
  """The settings that the numbers depend on are those of the bounds."""
  advice = ""
  if where in _SAME:
    advice = ". Choose this release's leaderboard, or put Clean's and Compromised's results there"
  for path, words in differ(value_at(result, where), value_at(compromised, where), where, _BOUNDS):
    yield path, words + advice


def _labels_as_judged(result, compromised):
  """The labels of the breakdown and their numbers of rows are those of the bounds."""
  ours, theirs = (
    {
      split: {
        kind: {label: {"rows": part["rows"]} for label, part in parts.items()}
        for kind, parts in kinds.items()
      }
      for split, kinds in value_at(judged, _PARTS).items()
    }
    for judged in (result, compromised)
  )
  yield from differ(ours, theirs, _PARTS, _BOUNDS)


def _examples_as_judged(result, compromised):
  """The examples show the same rows and portraits as those of the bounds."""
  shown = ("split", "file_name", "name", "caption", "portrait")
  ours, theirs = (
    [{key: row[key] for key in shown} for row in value_at(judged, ADDITIONAL).get("examples", [])]
    for judged in (result, compromised)
  )
  if ours:
    yield from differ(ours, theirs, _EXAMPLES, _BOUNDS)


def _attacks_as_judged(result, compromised):
  """Each attack on the model states its settings, which are those of the attack on the bounds."""
  ours, theirs = attacked_with(result), attacked_with(compromised)
  for name in value_at(result, ADDITIONAL).get("recoverability") or {}:
    if name not in ours:
      yield _ATTACKS, f"does not name {name}; should name it and hold its settings, {_BOUNDS}"
    elif name in theirs:
      yield from differ(ours[name], theirs[name], (*_ATTACKS, name.lower()), _BOUNDS)


def _attacks_described(result, compromised):
  """Each attack has the label, direction, reduction and parts that it has on Compromised, and has a
  number if it has one there.
  """
  ours, theirs = (
    value_at(judged, ADDITIONAL).get("recoverability") or {} for judged in (result, compromised)
  )
  for name in ours.keys() & theirs.keys():
    if "parts" in theirs[name]:
      one, other = (
        {key: attack.get(key) for key in ("label", "better", "reduction")}
        | {"parts": dict.fromkeys(attack.get("parts", {}), "a number")}
        for attack in (ours[name], theirs[name])
      )
      yield from differ(one, other, (*recoverability.PATH, name), _BOUNDS)
