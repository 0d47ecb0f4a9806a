"""Intervals, paired differences and ranks, against loops, formulas and simulations."""

import copy

import numpy as np
import pytest
from madeup import PEOPLE, everything, result, with_facts, with_rows

from salmu_jax.report import statistics, statistics_text
from salmu_jax.results import bootstrap, diagnosis, lookup, metrics_table
from salmu_jax.results.collecting import Table
from salmu_jax.runtime import files


def table():
  return [with_facts(with_rows(entry)) for entry in everything()]


@pytest.fixture(scope="module")
def summary():
  return statistics.of_table(table())


def test_every_metric_has_an_interval_around_its_value(summary):
  for one in table():
    values = lookup.flatten(one)
    for key in metrics_table.METRICS:
      low, high = summary["intervals"][one["salmu_jax"]["model"]][key]
      assert low <= values[key] <= high, key
      assert values[key] in (0, 1) or low < high


def test_a_replicate_is_the_mean_of_all_rows_of_the_people_drawn():
  one = with_rows(result("finetune"))
  people = sorted({*one["salmu_jax"]["additional"]["rows"]["groups"]["forget"]})
  drawn = bootstrap.replicates([with_rows(result("clean")), one])["finetune"]
  weights = bootstrap.draw(PEOPLE, np.random.default_rng([0, 0]))
  values = np.array(one["efficacy"]["1.2_AssocStr"]["scores"])
  owner = np.array(one["salmu_jax"]["additional"]["rows"]["groups"]["forget"])
  for r in (0, 7, 1999):
    rows = [
      v
      for p, w in zip(people, weights[r], strict=True)
      for v in np.repeat(values[owner == p], int(w))
    ]
    np.testing.assert_allclose(drawn["AssocStr"][r], np.mean(rows))


def test_rows_of_one_person_do_not_count_as_so_many_people():
  one = with_rows(result("finetune"))
  owner = np.arange(200) % PEOPLE
  rng = np.random.default_rng(0)
  alike = 0.2 + 0.1 * rng.normal(size=PEOPLE)[owner]
  apart = rng.permutation(alike)
  width = []
  for values in (alike, apart):
    one["efficacy"]["1.2_AssocStr"]["scores"] = values.tolist()
    draws = bootstrap.replicates([one])["finetune"]["AssocStr"]
    width.append(np.std(draws))
  by_person = np.std([alike[owner == p].mean() for p in range(PEOPLE)]) / np.sqrt(PEOPLE)
  np.testing.assert_allclose(width[0], by_person, rtol=0.06)
  assert width[1] < 0.6 * width[0]


def test_intervals_hold_the_truth_as_often_as_they_say():
  one, rng, hit = with_rows(result("finetune")), np.random.default_rng(1), 0
  owner = np.arange(200) % PEOPLE
  for _ in range(200):
    values = rng.normal(size=PEOPLE)[owner] + rng.normal(size=200)
    one["utility"]["2.2_InterIdSim"]["scores"] = values.tolist()
    draws = bootstrap.cases(one, metrics_table.METRICS["InterIdSim"])
    number = {f"{i:08d}": i for i in range(PEOPLE)}
    weights = bootstrap.draw(PEOPLE, rng)
    low, high = bootstrap.interval(bootstrap.means(*draws, number, weights))
    hit += low <= 0 <= high
  assert 178 <= hit <= 199  # 190 expected


def test_a_small_difference_on_the_same_rows_is_real_where_the_intervals_overlap():
  base = with_rows(result("surgery"))
  worse = copy.deepcopy(base)
  worse["salmu_jax"]["model"] = "a little worse"
  for metric in ("2.2_InterIdSim", "2.3_IntraIdSim"):
    section = worse["utility"][metric]
    section["scores"] = [value - 0.002 for value in section["scores"]]
    section["mean"] -= 0.002
  same = copy.deepcopy(base)
  same["salmu_jax"]["model"] = "the same"
  bounds = [with_rows(result(name)) for name in ("clean", "compromised")]
  summary = statistics.of_table([*bounds, base, worse, same])
  pairs = {(p["model"], p["other"], p["metric"]): p for p in summary["pairs"]}
  inter = {name: summary["intervals"][name]["InterIdSim"] for name in ("surgery", "a little worse")}
  assert inter["surgery"][0] < inter["a little worse"][1]
  by_model = {row["model"]: row for row in summary["ranks"]}
  assert "a little worse" in by_model["surgery"]["better_than"]
  assert "the same" not in by_model["surgery"]["better_than"]
  assert by_model["surgery"]["rank"] < by_model["a little worse"]["rank"]
  neighbours = pairs["surgery", "the same", "InterIdSim"]
  assert neighbours["difference"] == 0 and not neighbours["real"]


def test_among_equals_hardly_any_difference_is_called_real():
  rng, wrong = np.random.default_rng(0), 0
  for _ in range(60):
    weights = bootstrap.draw(30, rng)
    values = rng.normal(size=(8, 30))
    wide = bootstrap.simultaneous(values @ weights.T / 30)
    mean = values.mean(axis=1)
    wrong += bool(np.any(np.abs(mean[:, None] - mean) > np.where(wide == 0, np.inf, wide)))
  assert wrong <= 9  # 3 expected


def test_ranks_follow_the_weakest_side_and_bounds_have_none(summary):
  ranks = summary["ranks"]
  assert [row["rank"] for row in ranks] == [1, 2, 3, 4]
  assert {row["model"] for row in ranks} == {
    entry["salmu_jax"]["model"] for entry in everything()[2:]
  }
  assert ranks[0]["model"] == "surgery"
  assert sorted((row["weakest"] for row in ranks), reverse=True) == [
    row["weakest"] for row in ranks
  ]
  assert all(row["low"] <= row["rank"] <= row["high"] for row in ranks)
  assert "generic_captions" in ranks[0]["better_than"]


def test_shares_are_those_of_the_verdict_with_intervals_around_them(summary):
  clean, compromised = (lookup.flatten(one) for one in table()[:2])
  for one in table()[2:]:
    verdict = diagnosis.diagnose(lookup.flatten(one), clean, compromised)
    shares = summary["shares"][one["salmu_jax"]["model"]]
    expected = {
      "leak_removed": verdict.shares.leak_removed,
      "inter_kept": verdict.shares.inter_kept,
      "intra_kept": verdict.shares.intra_kept,
      "knowledge_kept": verdict.shares.knowledge_kept,
    }
    for side, value in expected.items():
      assert shares[side]["value"] == pytest.approx(value)
      assert shares[side]["low"] <= shares[side]["value"] <= shares[side]["high"]


def test_results_without_rows_have_no_intervals_and_no_rank():
  results = table()
  del results[3]["salmu_jax"]["additional"]["rows"]
  summary = statistics.of_table(results)
  name = results[3]["salmu_jax"]["model"]
  assert summary["intervals"][name]["ACS"] is None
  assert name not in {row["model"] for row in summary["ranks"]}
  bare = statistics.of_table(everything())
  assert bare["ranks"] == [] and bare["pairs"] == []
  text = statistics_text.of_table("mini", summary)
  assert "missing" in text and f"| {name}" in text


def test_a_missing_number_among_the_rows_is_not_drawn_around():
  results = table()
  results[2]["efficacy"]["1.2_AssocStr"]["scores"][5] = None
  intervals = statistics.of_table(results)["intervals"][results[2]["salmu_jax"]["model"]]
  assert intervals["AssocStr"] is None and intervals["CoreAssoc"] is not None


def of_seed(seed, shift=0.0):
  """The table of one seed, whose models differ by a shift in AssocStr."""
  results = table()
  for one in results:
    one["salmu_jax"]["seed"] = seed
    section = one["efficacy"]["1.2_AssocStr"]
    section["scores"] = [value + shift for value in section["scores"]]
    section["mean"] += shift
  return Table(f"seed {seed}", results)


def test_over_seeds_there_are_mean_range_and_an_interval_that_knows_of_the_seeds():
  tables = [of_seed(seed, shift) for seed, shift in enumerate((-0.1, 0.0, 0.1))]
  summary = statistics.over_seeds(tables)
  assert summary["seeds"] == [0, 1, 2]
  strength = summary["models"]["finetune"]["AssocStr"]
  values = [lookup.flatten(t.results[2])["AssocStr"] for t in tables]
  assert strength["seeds"] == 3
  np.testing.assert_allclose(
    [strength["mean"], strength["min"], strength["max"]],
    [np.mean(values), min(values), max(values)],
  )
  low, high = statistics.of_table(tables[1].results)["intervals"]["finetune"]["AssocStr"]
  assert strength["high"] - strength["low"] > 3 * (high - low)
  steady = summary["models"]["finetune"]["InterIdSim"]
  assert steady["min"] == steady["max"] and steady["low"] < steady["mean"] < steady["high"]
  assert "Relearning" not in summary["models"]["finetune"]  # nobody was attacked


def test_tables_that_differ_in_more_than_the_seed_are_not_averaged():
  other = of_seed(1)
  for one in other.results:
    one["salmu_jax"]["release"]["holdout_unit"] = "pair"
  assert statistics.over_seeds([of_seed(0), other]) is None
  assert statistics.over_seeds([of_seed(0)]) is None


def test_another_budget_or_other_bounds_are_no_other_seed():
  first, second = of_seed(0), of_seed(1)
  second.results[2]["salmu_jax"]["budget"] = 10.0
  models = statistics.over_seeds([first, second])["models"]
  assert models["finetune"]["AssocStr"]["seeds"] == 1
  assert models["shuffled_captions"]["AssocStr"]["seeds"] == 2
  second.results[1]["salmu_jax"]["settings"] = {"learning_rate": 7.0}
  assert statistics.over_seeds([first, second]) is None


def test_people_that_seeds_share_count_once():
  same = [of_seed(seed) for seed in range(4)]
  over = statistics.over_seeds(same)["models"]["finetune"]["AssocStr"]
  low, high = statistics.of_table(same[0].results)["intervals"]["finetune"]["AssocStr"]
  np.testing.assert_allclose([over["low"], over["high"]], [low, high], atol=1e-9)


def test_few_groups_give_no_interval_and_no_difference_is_real():
  results = table()
  for one in results:
    groups = one["salmu_jax"]["additional"]["rows"]["groups"]
    for name, labels in groups.items():
      groups[name] = [f"{i % (bootstrap.FEWEST - 1)}" for i in range(len(labels))]
  summary = statistics.of_table(results)
  assert all(
    interval is None for model in summary["intervals"].values() for interval in model.values()
  )
  assert summary["ranks"] == summary["pairs"] == [] and summary["shares"] == {}


def test_an_empty_split_has_no_interval_and_hinders_no_other():
  results = table()
  for one in results:
    one["salmu_jax"]["additional"]["rows"]["groups"]["fragile_set"] = []
    one["utility"]["2.5_FragSim"]["scores"] = []
  intervals = statistics.of_table(results)["intervals"]["finetune"]
  assert intervals["FragSim"] is None and intervals["VisIdInt"] is not None


def test_without_general_knowledge_to_lose_nothing_is_ranked_and_all_can_be_written(tmp_path):
  results = table()
  rows = results[1]["salmu_jax"]["additional"]["rows"]
  rows["hits"]["GenKnow"] = [0] * len(rows["hits"]["GenKnow"])
  results[1]["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] = 0.0
  summary = statistics.of_table(results)
  assert summary["ranks"] == []
  files.write_json(tmp_path / "statistics.json", summary)


def test_draws_without_a_gap_take_no_part_in_a_share(tmp_path):
  results = table()
  # Hardly anybody leaks, so that some draws have nobody who does.
  for one in results[1:]:
    owner = one["salmu_jax"]["additional"]["rows"]["groups"]["forget"]
    one["efficacy"]["1.1_RetFail"]["outcomes"] = [0 if p == owner[0] else 1999 for p in owner]
    one["efficacy"]["1.1_RetFail"]["MRR"] = 0.03
  results[0]["efficacy"]["1.1_RetFail"]["outcomes"] = [1999] * 200
  summary = statistics.of_table(results)
  assert summary["shares"]["finetune"]["leak_removed"]["low"] is None
  assert summary["ranks"] == []
  files.write_json(tmp_path / "statistics.json", summary)


def test_the_same_results_give_the_same_statistics(summary):
  assert statistics.of_table(table()) == summary
