"""The strict verdict: a model that is Clean on forget and Compromised elsewhere passes it, and each
single failure fails its own clause and no other.
"""

import copy

import numpy as np
import pytest
from madeup import everything, with_attacks, with_facts, with_rows

from salmu_jax.results import bootstrap, clauses
from salmu_jax.results.lookup import put, rows_at
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.results.reductions import reduce
from salmu_jax.results.shares import SIDES, STRICT_SIDES


def bounds():
  return [with_attacks(with_facts(with_rows(result))) for result in everything()[:2]]


def routed(clean, compromised):
  """Clean on the rows of forget, Compromised on all others: what unlearning should end at."""
  model = copy.deepcopy(compromised)
  model["salmu_jax"] |= {"model": "routed", "role": "unlearned"}
  additional = clean["salmu_jax"]["additional"]
  model["salmu_jax"]["additional"]["recoverability"] = copy.deepcopy(additional["recoverability"])
  for metric in METRICS.values():
    if metric.bound == "clean":
      for path in (metric.path, metric.rows, metric.cases):
        if path:
          put(model, path, copy.deepcopy(rows_at(clean, path)))
  return model


def verdict(model, **release):
  results = [*bounds(), model]
  for result in results:
    result["salmu_jax"]["release"] |= release
  return clauses.strict_verdicts(results)["routed"]


def failing(model):
  return [clause.name for clause in verdict(model).clauses if clause.holds is False]


def test_a_model_that_is_clean_on_forget_and_compromised_elsewhere_passes():
  found = verdict(routed(*bounds()))
  assert found.word == clauses.PASSES and found.left_out == ()
  assert all(clause.holds and clause.miss == 0 for clause in found.clauses)
  names = [clause.name for clause in found.clauses]
  assert names == [
    *SIDES,
    *STRICT_SIDES,
    "FactLeak_own",
    "FactLeak_new",
    "Membership",
    "Relearning",
  ]


def set_rows(model, key, rows):
  metric = METRICS[key]
  put(model, metric.rows, rows.tolist())
  put(model, metric.path, reduce(metric.reduction, rows))


@pytest.mark.parametrize(
  "key, worse, clause",
  [
    ("RetFail_MRR", lambda rows: rows // 20, "leak_removed"),
    ("GenKnow", lambda rows: rows * (np.arange(len(rows)) % 10 > 0), "knowledge_kept"),
    ("InterIdSim", lambda rows: rows - 0.02, "inter_kept"),
    ("IntraIdSim", lambda rows: rows - 0.02, "intra_kept"),
    ("InterIdRet_MRR", lambda rows: rows + 1, "inter_ret_kept"),
    ("IntraIdRet_MRR", lambda rows: rows + 1, "intra_ret_kept"),
    ("InterFactKept_new", lambda rows: rows * 0.9, "inter_fact_kept"),
    ("IntraFactKept_new", lambda rows: rows * 0.9, "intra_fact_kept"),
    ("FactLeak_own", lambda rows: np.minimum(1, rows * 3), "FactLeak_own"),
    ("FactLeak_own", lambda rows: rows * 0.2, "FactLeak_own"),
    ("FactLeak_new", lambda rows: np.minimum(1, rows * 3), "FactLeak_new"),
    ("FactLeak_new", lambda rows: rows * 0.2, "FactLeak_new"),
  ],
)
def test_a_single_failure_fails_its_own_clause_and_no_other(key, worse, clause):
  model = routed(*bounds())
  set_rows(model, key, worse(np.array(rows_at(model, METRICS[key].rows))))
  assert failing(model) == [clause]
  assert verdict(model).word.startswith("fails: ")


@pytest.mark.parametrize(
  "attack, value", [("Membership", 0.6), ("Membership", 0.4), ("Relearning", 0.2)]
)
def test_an_attack_outside_of_cleans_interval_fails_its_own_clause(attack, value):
  model = routed(*bounds())
  model["salmu_jax"]["additional"]["recoverability"][attack]["value"] = value
  assert failing(model) == [attack]


def test_relearning_below_clean_is_no_failure_and_attacks_that_did_not_run_are_no_clause():
  model = routed(*bounds())
  attacks = model["salmu_jax"]["additional"]["recoverability"]
  attacks["Relearning"]["value"] = 0.0
  assert failing(model) == []
  results = [*bounds(), model]
  for result in results:
    del result["salmu_jax"]["additional"]["recoverability"]
  found = clauses.strict_verdicts(results)["routed"]
  assert found.word == clauses.PASSES
  assert not {"Membership", "Relearning"} & {clause.name for clause in found.clauses}


def test_a_clause_says_by_how_much_it_fails_and_what_was_asked():
  model = routed(*bounds())
  set_rows(model, "InterIdRet_MRR", np.array(rows_at(model, METRICS["InterIdRet_MRR"].rows)) + 1)
  (clause,) = (each for each in verdict(model).clauses if each.holds is False)
  assert clause.miss == pytest.approx(0.95 - clause.value)
  assert clause.low < clause.value < clause.high
  words = clauses.describe(clause)
  assert words.startswith(f"InterIdRet_MRR kept {clause.value:.1%} (")
  assert words.endswith("), should be at least 95.0%")


def test_clean_bounds_facts_by_the_interval_of_the_statistics():
  results = [*bounds(), routed(*bounds())]
  drawn = bootstrap.replicates(results)
  clause = next(c for c in verdict(results[2]).clauses if c.name == "FactLeak_new")
  assert [clause.least, clause.most] == bootstrap.interval(drawn["clean"]["FactLeak_new"])


def test_with_the_unit_pair_clauses_that_contradict_each_other_are_left_out_and_named():
  found = verdict(routed(*bounds()), holdout_unit="pair")
  assert found.left_out == ("FactLeak_own", "FactLeak_new", "intra_ret_kept", "intra_fact_kept")
  assert not set(found.left_out) & {clause.name for clause in found.clauses}
  assert found.word == clauses.PASSES


def test_a_missing_number_is_named_and_passes_nothing():
  model = routed(*bounds())
  for path in (METRICS["FactLeak_new"].path, METRICS["FactLeak_new"].rows):
    put(model, path, None)
  found = verdict(model)
  assert found.word == "not judged: FactLeak_new (FactLeak_new is missing)"
  older = [with_rows(result) for result in everything()]
  words = {name: each.word for name, each in clauses.strict_verdicts(older).items()}
  assert (
    words["surgery"].startswith("not judged: ") and "InterIdRet_MRR is missing" in words["surgery"]
  )
