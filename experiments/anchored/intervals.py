"""Shares of the gaps between the bounds, with bootstrap CIs, resampled by person."""

from collections.abc import Sequence

import numpy as np

from salmu_jax.results import shares as results_shares
from salmu_jax.results.diagnosis import THRESHOLDS
from salmu_jax.results.lookup import distance
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.results.shares import SIDES

_REPLICATES = 2000
# The metrics with a gap between Compromised and Clean that has an interval.
GAPS = tuple(side.metric for side in SIDES.values() if not side.of_value)


def shares(
  scores: dict[str, float], clean: dict[str, float], compromised: dict[str, float]
) -> dict[str, float]:
  """The quantities that the clauses limit: the shares, and differences from the bounds."""
  return {
    **_labelled(results_shares.shares(scores, clean, compromised)),
    **{
      key: distance(METRICS[key], scores[key], clean[key], compromised[key])
      for key in ("AssocStr", "VisIdInt", "FragSim")
    },
  }


def _labelled(shares):
  return {SIDES[name].label: share for name, share in shares.items()}


def clauses(shares: dict[str, float]) -> list[str]:
  """The metrics whose clauses a model with these `shares` fails."""
  failures = {
    side.metric: shares[side.label] < THRESHOLDS[side.threshold] for side in SIDES.values()
  }
  failures |= {
    "AssocStr": abs(shares["AssocStr"]) > 0.05,
    "VisIdInt": shares["VisIdInt"] < -0.02,
    "FragSim": shares["FragSim"] < -0.02,
  }
  return [name for name, failed in failures.items() if failed]


def mean(by_seed: Sequence[dict[str, float]]) -> dict[str, float]:
  """The mean over seeds of their `shares`."""
  return {key: float(np.mean([shares[key] for shares in by_seed])) for key in by_seed[0]}


def interval(records: Sequence[dict], label: str) -> dict[str, tuple[float, float]]:
  """{label of a share of GAPS: (low, high)}: the 95 % bootstrap CI of the mean over seeds.

  People are resampled within each seed. Bounds and model are judged on the same people in every
  replicate.

  Args:
    records: of the seeds that have the run `label`.
    label: of the run.
  """
  by_seed = [_replicates(record, label) for record in records]
  ends = {}
  for share in by_seed[0]:
    means = np.mean([replicates[share] for replicates in by_seed], axis=0)
    ends[share] = tuple(float(end) for end in np.percentile(means, [2.5, 97.5]))
  return ends


def _replicates(record, label):
  """{label of a share: (R,)} of one seed, R replicates."""
  models = [record["runs"][label], record["clean"], record["compromised"]]
  people = sorted({person for m in models for key in GAPS for person in m["by_identity"][key]})
  rng = np.random.default_rng(record["seed"])
  weights = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), _REPLICATES)
  draws = [{key: _means(m["by_identity"][key], people, weights) for key in GAPS} for m in models]
  return _labelled(results_shares.shares(*draws))


def _means(sums, people, weights):
  total, rows = np.array([sums.get(person, (0.0, 0)) for person in people]).T
  return (weights @ total) / (weights @ rows)
