"""The study of which numbers deserve trust: its pools and its arithmetic."""

import littlejob
import pytest

from experiments.meta import pools, study
from salmu_jax.attacks import ATTACKS
from salmu_jax.benchmark import stages
from salmu_jax.data import releases
from salmu_jax.results.metrics_table import METRICS


def record(**numbers):
  """A record whose pools have these numbers of RetFail_MRR, and one method."""
  seeds = lambda values: {str(n): {"RetFail_MRR": value} for n, value in enumerate(values)}
  by_pool = dict(zip(pools.POOLS, numbers["pools"], strict=True))
  changed = zip((study.AS_IT_IS, study.ROUNDED, study.TRAINED), numbers["method"], strict=True)
  return {
    "pools": {name: seeds(values) for name, values in by_pool.items()},
    "methods": {"mine": {change: {"RetFail_MRR": value} for change, value in changed}},
  }


KEPT = record(pools=[(0.0, 0.1), (0.0, 0.2), (0.1, 0.5), (0.8, 0.9)], method=(0.1, 0.1, 0.3))


def test_auc_counts_the_pairs_in_which_the_model_that_knows_has_more():
  # Of 4 x 4 pairs: .1 is above two, ties one, and is below one; the others are above all.
  assert study.auc(KEPT, "RetFail_MRR") == pytest.approx((12 + 2 + 0.5) / 16)


def test_margin_and_stability_are_shares_of_the_gap_between_compromised_and_clean():
  gap = 0.85 - 0.05
  assert study.margin(KEPT, "RetFail_MRR") == pytest.approx((0.1 - 0.2) / gap)
  assert study.stability(KEPT, "RetFail_MRR", study.ROUNDED) == 1
  assert study.stability(KEPT, "RetFail_MRR", study.TRAINED) == pytest.approx(1 - 0.2 / gap)
  area, stable = study.auc(KEPT, "RetFail_MRR"), 1 - 0.2 / gap
  assert study.trust(KEPT, "RetFail_MRR") == pytest.approx(3 / (1 / area + 1 + 1 / stable))


def test_a_number_that_sinks_with_knowledge_has_a_margin_below_0():
  sinking = record(pools=[(0.8, 0.9), (0.7, 0.9), (0.1, 0.2), (0.0, 0.1)], method=(0.1, 0.1, 0.1))
  assert study.auc(sinking, "RetFail_MRR") == 0
  assert study.margin(sinking, "RetFail_MRR") == pytest.approx((0.0 - 0.9) / 0.8)


def test_a_number_is_tried_on_the_pools_that_differ_in_what_it_looks_for():
  forget, holdouts = (
    [getattr(p, part) for p in pools.POOLS.values()] for part in ("forget", "holdouts")
  )
  assert forget != holdouts
  for key in ("RetFail_MRR", "IdZSC", "FactLeak_new", "Relearning"):
    assert list(pools.knows(key).values()) == forget
  for key in ("InterIdSim", "IntraIdRet_MRR", "InterFactKept_own"):
    assert list(pools.knows(key).values()) == holdouts
  assert {key for key in METRICS if pools.knows(key) is None} == {"GenKnow", "VisIdInt", "FragSim"}
  assert [key for key in ATTACKS if pools.knows(key) is None] == ["Interpolation"]


def test_a_model_retrained_without_forget_reads_all_but_forget_as_often(tmp_path, monkeypatch):
  job, data = littlejob.make(tmp_path)
  seen = {}
  monkeypatch.setattr(stages, "pretrain", lambda job, data, model: seen.update(job=job, data=data))
  pools.pretrain(job, data, "retrained without forget", tmp_path / "model")
  names = lambda rows: {rows[i]["file_name"].decode() for i in range(len(rows))}
  files_of = lambda split: {*releases.columns(data.release, split)["file_name"]}
  read = names(seen["data"].records["sensitive"])
  assert read == files_of("sensitive") - files_of("forget") and files_of("holdout_identity") <= read
  rows = data.count("compromised")
  passes = seen["job"].config.pretrain.epochs * rows / (rows - len(files_of("forget")))
  assert passes == pytest.approx(job.config.pretrain.epochs)
  pools.pretrain(job, data, "Compromised, half the epochs", tmp_path / "half")
  assert seen["job"].config.pretrain.epochs == job.config.pretrain.epochs / 2
  assert seen["data"] is data
