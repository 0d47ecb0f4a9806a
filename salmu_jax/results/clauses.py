"""The strict verdict: the published one, plus clauses on facts, retrieval and attacks.

A model can pass the published verdict although it lost retrieval, because it keeps cosines, and
although its scores lie below those of a retrained model. Each clause here rules out one such case.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from salmu_jax.results import bootstrap, diagnosis, recoverability
from salmu_jax.results.lookup import flatten, rows_at
from salmu_jax.results.shares import SIDES, STRICT_SIDES, Side, side_shares

_SHARES = SIDES | STRICT_SIDES
# Metrics that must lie within Clean's interval: above it the fact leaks; below it the model avoids
# the fact, which is as revealing.
WITHIN_CLEAN = ("FactLeak_own", "FactLeak_new")
# Attacks that must lie within Clean's interval, and attacks that must not exceed it.
ATTACKS_WITHIN_CLEAN = ("Membership",)
ATTACKS_UP_TO_CLEAN = ("Relearning",)
# With the holdout unit "pair" the same fact must be forgotten in some images and words and kept in
# others, so these clauses contradict each other.
CONTRADICTING = {"pair": (*WITHIN_CLEAN, "intra_ret_kept", "intra_fact_kept")}
PASSES = "passes"


class Clause(NamedTuple):
  """One condition of the strict verdict, and how a model meets it.

  Attributes:
    name: a key of SIDES, STRICT_SIDES or METRICS, or an attack.
    label: what the number is, for tables.
    value: the model's number; None if it is missing.
    low, high: its 95 % interval; None if it has none.
    least, most: the lower and upper limit of the number; None if it has none.
    holds: whether the number is within its limits; None if that is unknown.
    why: why it is unknown.
  """

  name: str
  label: str
  value: float | None
  low: float | None
  high: float | None
  least: float | None
  most: float | None
  holds: bool | None
  why: str = ""

  @property
  def miss(self) -> float:
    """How far the number is beyond its limit; 0 if the clause holds."""
    below = 0.0 if self.least is None else self.least - self.value
    above = 0.0 if self.most is None else self.value - self.most
    return max(0.0, below, above)


class StrictVerdict(NamedTuple):
  """The strict verdict of one model, and its clauses.

  Attributes:
    word: "passes"; the labels of the clauses that fail; or why the model is not judged.
    clauses: all clauses.
    left_out: names of clauses that contradict each other on this release.
  """

  word: str
  clauses: tuple[Clause, ...]
  left_out: tuple[str, ...]


def strict_verdicts(
  results: Sequence[Mapping], thresholds: Mapping[str, float] = diagnosis.THRESHOLDS, seed: int = 0
) -> dict[str, StrictVerdict]:
  """The strict verdict of every unlearned model.

  Args:
    results: Clean, Compromised, then the others; judged on the same rows.
    thresholds: see `diagnosis.THRESHOLDS`. seed: of the bootstrap.
  """
  drawn = bootstrap.replicates(results, seed)
  return {
    result["salmu_jax"]["model"]: _strict_verdict(result, results[:2], drawn, thresholds)
    for result in results[2:]
  }


def _strict_verdict(result, bounds, drawn, thresholds):
  left_out = CONTRADICTING.get(result["salmu_jax"]["release"]["holdout_unit"], ())
  draws = [drawn[one["salmu_jax"]["model"]] for one in (result, *bounds)]
  made = [*_share_clauses(result, bounds, draws, thresholds), *_within_clean(result, draws)]
  made += _attack_clauses(result, bounds[0])
  clauses = tuple(clause for clause in made if clause.name not in left_out)
  return StrictVerdict(_word(clauses), clauses, left_out)


def _word(clauses):
  """The word of a verdict; clauses that fail come before clauses whose outcome is unknown."""
  failed = [clause.label for clause in clauses if clause.holds is False]
  if failed:
    return f"fails: {', '.join(failed)}"
  open_ = [f"{clause.label} ({clause.why})" for clause in clauses if clause.holds is None]
  return f"not judged: {', '.join(open_)}" if open_ else PASSES


def _share_clauses(result, bounds, draws, thresholds):
  """Clauses on shares of the gap between Compromised and Clean, the published ones and others."""
  values = [flatten(one) for one in (result, *bounds)]
  reached, replicates = (side_shares(_SHARES, *tables) for tables in (values, draws))
  for name, side in _SHARES.items():
    value = reached[name]
    interval = bootstrap.ends(None if value is None else replicates[name])
    yield _clause(
      name,
      side.label,
      value,
      interval,
      least=thresholds[side.threshold],
      why=_missing(side, values),
    )


def _missing(side: Side, values):
  model, clean, compromised = (table.get(side.metric) for table in values)
  if None in (model, clean, compromised):
    return f"{side.metric} is missing"
  return f"Compromised is not above {'0' if side.of_value else 'Clean'} in {side.metric}"


def _within_clean(result, draws):
  """Clauses on metrics that must lie within Clean's interval."""
  values = flatten(result)
  for key in WITHIN_CLEAN:
    least, most = bootstrap.ends(draws[1][key])
    why = f"{key} is missing" if values[key] is None else "Clean has no interval"
    bounded = values[key] if least is not None else None
    yield _clause(key, key, bounded, bootstrap.ends(draws[0][key]), least=least, most=most, why=why)


def _attack_clauses(result, clean):
  """Clauses on attacks that ran: Membership within Clean's interval, Relearning not above it."""
  ours, theirs = (rows_at(one, recoverability.PATH) or {} for one in (result, clean))
  for key in (*ATTACKS_WITHIN_CLEAN, *ATTACKS_UP_TO_CLEAN):
    if key not in ours and key not in theirs:
      continue
    value, interval = (ours.get(key, {}).get(part) for part in ("value", "interval"))
    least, most = theirs.get(key, {}).get("interval") or (None, None)
    why = f"{key} did not run on the model" if value is None else f"no interval of {key} on Clean"
    bounded = value if most is not None else None
    least = least if key in ATTACKS_WITHIN_CLEAN else None
    yield _clause(key, key, bounded, interval or (None, None), least=least, most=most, why=why)


def _clause(name, label, value, interval, *, least=None, most=None, why=""):
  """A clause, which holds if the value lies between its limits."""
  if value is None:
    return Clause(name, label, None, None, None, least, most, None, why)
  holds = (least is None or value >= least) and (most is None or value <= most)
  return Clause(name, label, value, *interval, least, most, holds)


def in_short(clauses: Sequence[Mapping]) -> str:
  """The strict verdict in a few words.

  Args:
    clauses: of one model, each as the dict of its fields in JSON.
  """
  held = [clause["holds"] for clause in clauses]
  if False in held:
    return f"fails {held.count(False)} of {len(held)} clauses"
  return "not judged" if None in held else PASSES


def unmet(clauses: Sequence[Mapping]) -> list[str]:
  """The clauses that fail or whose outcome is unknown, each with its numbers in one line.

  Args:
    clauses: as for `in_short`.
  """
  made = [Clause(**clause) for clause in clauses]
  return [describe(clause) for clause in made if not clause.holds]


def describe(clause: Clause) -> str:
  """A clause with its numbers, in one line."""
  if clause.holds is None:
    return f"{clause.label}: not judged, {clause.why}"
  number = functools.partial(number_of, clause.name)
  limits = [("at least", clause.least), ("at most", clause.most)]
  right = " and ".join(f"{words} {number(limit)}" for words, limit in limits if limit is not None)
  sure = "" if clause.low is None else f" ({number(clause.low)} to {number(clause.high)})"
  return f"{clause.label} {number(clause.value)}{sure}, should be {right}"


def number_of(name: str, value: float) -> str:
  """A number of a clause as text, by the clause's name: shares in percent."""
  return f"{value:z.1%}" if name in _SHARES else f"{value:.3f}"
