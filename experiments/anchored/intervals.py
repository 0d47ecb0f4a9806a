"""Shares of the gaps between the bounds, with intervals from a bootstrap clustered on people."""

import numpy as np

from salmu_jax.results import diagnosis

_REPLICATES = 2000
# Share -> the metric whose gap between Compromised and Clean it is of.
GAPS = {"leak removed": "RetFail_MRR", "Inter lost": "InterIdSim", "Intra lost": "IntraIdSim"}


def shares(scores, clean, compromised):
  """What the clauses are about, of one model: shares of gaps, and distances to the bounds."""
  verdict = diagnosis.diagnose(scores, clean, compromised)
  out = {
    "leak removed": verdict.leakage_reduction,
    "Inter lost": verdict.inter_gap_lost,
    "Intra lost": verdict.intra_gap_lost,
    "GenKnow lost": verdict.general_knowledge_loss,
  }
  out["AssocStr"] = scores["AssocStr"] - clean["AssocStr"]
  return out | {key: scores[key] - compromised[key] for key in ("VisIdInt", "FragSim")}


def clauses(found):
  """Which clauses a dict of `shares` fails, in words."""
  limits = diagnosis.THRESHOLDS
  tests = {
    "leak": found["leak removed"] < limits["leakage_reduction"],
    "AssocStr": abs(found["AssocStr"]) > 0.05,
    "Inter": found["Inter lost"] > limits["holdout_gap_lost"],
    "Intra": found["Intra lost"] > limits["holdout_gap_lost"],
    "VisIdInt": found["VisIdInt"] < -0.02,
    "FragSim": found["FragSim"] < -0.02,
    "GenKnow": found["GenKnow lost"] > limits["general_knowledge_loss"],
  }
  return [name for name, failed in tests.items() if failed]


def mean(each):
  """The mean over seeds of dicts of `shares`."""
  return {key: float(np.mean([one[key] for one in each])) for key in each[0]}


def interval(records, label):
  """{share of GAPS: (low, high)}: 95 % of the means over seeds, people drawn again within each
  seed.

  Args:
    records: results of seeds that have the run `label`. Bounds and model are judged on the same
      people in every replicate.
  """
  drawn = [_replicates(record, label) for record in records]
  ends = {share: np.mean([each[share] for each in drawn], axis=0) for share in GAPS}
  return {
    share: tuple(float(x) for x in np.percentile(values, [2.5, 97.5]))
    for share, values in ends.items()
  }


def _replicates(record, label):
  """{share: (R,)} of one seed."""
  models = [record["runs"][label], record["clean"], record["compromised"]]
  people = sorted(
    {person for m in models for key in GAPS.values() for person in m["by_identity"][key]}
  )
  rng = np.random.default_rng(record["seed"])
  weights = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), _REPLICATES)
  out = {}
  for share, key in GAPS.items():
    value, low, high = (_means(m["by_identity"][key], people, weights) for m in models)
    out[share] = (high - value) / (high - low)
  return out


def _means(sums, people, weights):
  total, rows = np.array([sums.get(person, (0.0, 0)) for person in people]).T
  return (weights @ total) / (weights @ rows)
