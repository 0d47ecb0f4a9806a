"""Shares of the gaps between the bounds, with bootstrap CIs, resampled by person."""

from collections.abc import Sequence

import numpy as np

from salmu_jax.results import diagnosis

_REPLICATES = 2000
# Share -> the metric with the gap between Compromised and Clean.
GAPS = {"leak removed": "RetFail_MRR", "Inter lost": "InterIdSim", "Intra lost": "IntraIdSim"}


def shares(
  scores: dict[str, float], clean: dict[str, float], compromised: dict[str, float]
) -> dict[str, float]:
  """The quantities that the clauses limit: shares of gaps, and differences from the bounds."""
  verdict = diagnosis.diagnose(scores, clean, compromised)
  return {
    "leak removed": verdict.leakage_reduction,
    "Inter lost": verdict.inter_gap_lost,
    "Intra lost": verdict.intra_gap_lost,
    "GenKnow lost": verdict.general_knowledge_loss,
    "AssocStr": scores["AssocStr"] - clean["AssocStr"],
    "VisIdInt": scores["VisIdInt"] - compromised["VisIdInt"],
    "FragSim": scores["FragSim"] - compromised["FragSim"],
  }


def clauses(shares: dict[str, float]) -> list[str]:
  """The names of the clauses that a model with these `shares` fails."""
  limits = diagnosis.THRESHOLDS
  failures = {
    "leak": shares["leak removed"] < limits["leakage_reduction"],
    "AssocStr": abs(shares["AssocStr"]) > 0.05,
    "Inter": shares["Inter lost"] > limits["holdout_gap_lost"],
    "Intra": shares["Intra lost"] > limits["holdout_gap_lost"],
    "VisIdInt": shares["VisIdInt"] < -0.02,
    "FragSim": shares["FragSim"] < -0.02,
    "GenKnow": shares["GenKnow lost"] > limits["general_knowledge_loss"],
  }
  return [name for name, failed in failures.items() if failed]


def mean(by_seed: Sequence[dict[str, float]]) -> dict[str, float]:
  """The mean over seeds of their `shares`."""
  return {key: float(np.mean([shares[key] for shares in by_seed])) for key in by_seed[0]}


def interval(records: Sequence[dict], label: str) -> dict[str, tuple[float, float]]:
  """{share of GAPS: (low, high)}: the 95 % bootstrap CI of the mean over seeds.

  People are resampled within each seed. Bounds and model are judged on the same people in every
  replicate.

  Args:
    records: of the seeds that have the run `label`.
    label: of the run.
  """
  by_seed = [_replicates(record, label) for record in records]
  ends = {}
  for share in GAPS:
    means = np.mean([replicates[share] for replicates in by_seed], axis=0)
    ends[share] = tuple(float(end) for end in np.percentile(means, [2.5, 97.5]))
  return ends


def _replicates(record, label):
  """{share: (R,)} of one seed, R replicates."""
  models = [record["runs"][label], record["clean"], record["compromised"]]
  people = sorted(
    {person for m in models for key in GAPS.values() for person in m["by_identity"][key]}
  )
  rng = np.random.default_rng(record["seed"])
  weights = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), _REPLICATES)
  replicates = {}
  for share, key in GAPS.items():
    value, low, high = (_means(m["by_identity"][key], people, weights) for m in models)
    replicates[share] = (high - value) / (high - low)
  return replicates


def _means(sums, people, weights):
  total, rows = np.array([sums.get(person, (0.0, 0)) for person in people]).T
  return (weights @ total) / (weights @ rows)
