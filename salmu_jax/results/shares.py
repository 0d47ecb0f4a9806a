"""The four shares that a model is judged by, and the ranking by the weakest of them.

Numbers and bootstrap draws are treated alike: a value is a float or an (R,) array of replicates.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Value = float | np.ndarray


class Side(NamedTuple):
  """The definition of one share.

  Attributes:
    label: its name in tables.
    metric: the key of METRICS that it is computed from.
    removed: whether it is the removed part of the gap between Compromised and Clean, not the
      remaining part.
    of_value: whether it is a share of Compromised's value, not of the gap to Clean.
    threshold: the key of `diagnosis.THRESHOLDS` of its smallest allowed value.
    failure: the failure mode of a model whose share is too small.
    about: what it is, for pages.
  """

  label: str
  metric: str
  removed: bool
  of_value: bool
  threshold: str
  failure: str
  about: str


class Shares(NamedTuple):
  """How far a model reaches each aim; 1 is fully.

  A share is None if it is undefined: a value is missing, or Compromised is not above Clean.

  Attributes:
    leak_removed: the removed share of the gap in retrieval of the forget pairs: 1 at Clean's value.
    inter_kept: the remaining share of the gap in similarity of other people's pairs: 1 at
      Compromised's value.
    intra_kept: the same for other pairs of the same people.
    knowledge_kept: the remaining share of Compromised's general knowledge.
  """

  leak_removed: Value | None
  inter_kept: Value | None
  intra_kept: Value | None
  knowledge_kept: Value | None

  def items(self) -> list[tuple[str, Value]]:
    """(side, share) of the shares that are defined."""
    return [(side, share) for side, share in self._asdict().items() if share is not None]


def _of_gap(label: str, metric: str, *rest: str, removed: bool = False) -> Side:
  return Side(label, metric, removed, False, *rest)


SIDES = {
  "leak_removed": _of_gap(
    "leak removed",
    "RetFail_MRR",
    "leak_removed",
    "ineffective",
    "Share of the leak (RetFail_MRR) that is closed",
    removed=True,
  ),
  "inter_kept": _of_gap(
    "InterIdSim kept",
    "InterIdSim",
    "holdout_kept",
    "over-generalised",
    "Share kept of the holdout gap in InterIdSim",
  ),
  "intra_kept": _of_gap(
    "IntraIdSim kept",
    "IntraIdSim",
    "holdout_kept",
    "over-generalised",
    "Share kept of the holdout gap in IntraIdSim",
  ),
  "knowledge_kept": Side(
    "GenKnow kept",
    "GenKnow",
    False,
    True,
    "knowledge_kept",
    "catastrophic",
    "Share kept of Compromised's GenKnow",
  ),
}

# What the strict verdict (see `clauses`) requires besides SIDES, which measure cosines: retrieval
# of the holdouts, and the values of their facts.
STRICT_SIDES = {
  f"{short}_{what}_kept": _of_gap(
    f"{metric} kept",
    metric,
    "holdout_kept",
    "over-generalised",
    f"Share kept of the holdout gap in {metric}",
  )
  for what, metrics in (
    ("ret", ("InterIdRet_MRR", "IntraIdRet_MRR")),
    ("fact", ("InterFactKept_new", "IntraFactKept_new")),
  )
  for short, metric in zip(("inter", "intra"), metrics, strict=True)
}

# The kept shares of the holdouts that can be plotted against the removed leak: those of other
# people's pairs, and of other pairs of the same people.
HOLDOUT_SHARES = {
  "similarity": ("inter_kept", "intra_kept"),
  "retrieval": ("inter_ret_kept", "intra_ret_kept"),
}


def shares(
  values: Mapping[str, Value | None],
  clean: Mapping[str, Value | None],
  compromised: Mapping[str, Value | None],
  *,
  leak: str = SIDES["leak_removed"].metric,
) -> Shares:
  """The shares of a model between its bounds.

  Args:
    values, clean, compromised: {key of METRICS: number or (R,) draws, or None}; keys may be absent.
    leak: the key that the leak is read from: "RetFail_MRR", or "RetFail_R@1" as published.
  """
  leak_side = SIDES["leak_removed"]._replace(metric=leak)
  return Shares(**side_shares(SIDES | {"leak_removed": leak_side}, values, clean, compromised))


def side_shares(
  sides: Mapping[str, Side], *tables: Mapping[str, Value | None]
) -> dict[str, Value | None]:
  """{key of `sides`: the share, see `shares`}; `tables` are values, clean and compromised."""
  return {
    name: _share(side, *(table.get(side.metric) for table in tables))
    for name, side in sides.items()
  }


def _share(
  side: Side, value: Value | None, clean: Value | None, compromised: Value | None
) -> Value | None:
  """One share; for replicates, NaN in those without a gap."""
  low = 0.0 if side.of_value else clean
  if value is None or low is None or compromised is None:
    return None
  gap = np.asarray(compromised) - low
  with np.errstate(divide="ignore", invalid="ignore"):
    kept = np.where(gap > 0, np.divide(np.asarray(value) - low, gap), np.nan)
  share = 1 - kept if side.removed else kept
  if share.ndim:
    return share
  return float(share) if np.isfinite(share) else None


def weakest(reached: Shares) -> Value:
  """The smallest of the defined shares, each capped at 1."""
  return np.minimum(
    1, np.min(np.broadcast_arrays(*(share for _, share in reached.items())), axis=0)
  )


def order_in_words() -> str:
  """The criterion by which `ranked` orders models, for legends."""
  labels = [side.label for side in SIDES.values()]
  return f"the weakest share (the smallest of {', '.join(labels[:-1])} and {labels[-1]})"


def ranked(models: Mapping[str, Shares]) -> list[str]:
  """The models sorted by their weakest share, largest first; ties by name.

  Models with an undefined share come last.
  """

  def key(model: str) -> tuple[bool, float, str]:
    reached = models[model]
    defined = reached.items()
    return len(defined) < len(reached), -float(weakest(reached)) if defined else 0.0, model

  return sorted(models, key=key)
