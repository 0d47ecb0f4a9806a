"""The four shares that a model is judged by, and the ranking by the weakest of them.

Numbers and bootstrap draws are treated alike: a value is a float or an (R,) array of replicates.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Value = float | np.ndarray


class Side(NamedTuple):
  """What one share is a share of.

  Attributes:
    label: its name in tables.
    metric: the key of METRICS that it is computed from.
    removed: whether it is what is gone of the gap between Compromised and Clean, not what is left.
    of_value: whether it is a share of Compromised's value, not of the gap to Clean.
    threshold: the key of `diagnosis.THRESHOLDS` that says how large it has to be.
    failure: the failure mode of a model in which it is too small.
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
  """How far a model reaches each aim; 1 is whole.

  None where a share is undefined: a value is missing, or Compromised is not above Clean.

  Attributes:
    leak_removed: of the gap in retrieval of the forget pairs, what is closed: 1 at Clean's value.
    inter_kept: of the gap in the similarity of other people's pairs, what is left: 1 at
      Compromised's value.
    intra_kept: the same of other pairs of the same people.
    knowledge_kept: of Compromised's general knowledge, what is left.
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

# What the strict verdict asks beside SIDES (see `clauses`): retrieval of what should be kept, and
# its values, where SIDES look at cosines.
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

# What can be drawn as kept of the holdouts, beside the leak that is removed: the shares of other
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
  """One share; of draws, NaN in those that have no gap."""
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
  """The least of the shares that are defined, each counted up to 1."""
  return np.minimum(
    1, np.min(np.broadcast_arrays(*(share for _, share in reached.items())), axis=0)
  )


def order_in_words() -> str:
  """What `ranked` orders models by, for legends."""
  labels = [side.label for side in SIDES.values()]
  return f"the weakest share (the smallest of {', '.join(labels[:-1])} and {labels[-1]})"


def ranked(models: Mapping[str, Shares]) -> list[str]:
  """The models in their order: by the weakest share, the largest first; equals by name.

  A model with an undefined share stands behind all others.
  """

  def key(model: str) -> tuple[bool, float, str]:
    reached = models[model]
    defined = reached.items()
    return len(defined) < len(reached), -float(weakest(reached)) if defined else 0.0, model

  return sorted(models, key=key)
