"""The verdicts: the published table, the edges of every threshold, and what has to raise."""

import itertools
import json

import pytest

from salmu_jax.errors import InputError
from salmu_jax.results import diagnosis, lookup, metrics_table
from salmu_jax.results import published as published_values
from salmu_jax.results.diagnosis import FAILURES, THRESHOLDS, describe, diagnose, meaning

CLEAN, COMPROMISED = published_values.MODELS["clean"], published_values.MODELS["compromised"]
PUBLISHED = {row["name"]: row["scores"] for row in published_values.METHODS}


def published(name):
  return diagnose(PUBLISHED[name], CLEAN, COMPROMISED, leakage="RetFail_R@1")


@pytest.mark.parametrize(
  ("name", "word"),
  [
    ("CLIPErase", "over-generalised"),
    ("DELETE", "over-generalised"),
    ("VLUnlearn", "over-generalised"),
    ("Fine-tuning", "over-generalised"),
    ("Negative gradient", "over-generalised"),
    ("Shuffled captions", "catastrophic"),
    ("Direct similarity minimisation", "catastrophic"),
  ],
)
def test_published_methods_get_the_published_words(name, word):
  assert word in published(name).failures


@pytest.mark.parametrize(("name", "share"), [("VLUnlearn", 0.62), ("Fine-tuning", 0.63)])
def test_published_shares_of_the_holdout_gap_come_out(name, share):
  verdict = published(name)
  assert 1 - verdict.shares.inter_kept == pytest.approx(share, abs=0.01)
  assert 1 - verdict.shares.intra_kept == pytest.approx(share, abs=0.01)


def test_general_knowledge_loss_is_a_share_of_compromised():
  loss = 1 - published("DELETE").shares.knowledge_kept
  assert loss == pytest.approx(0.006 / 0.638)  # 0.94 %, just under the threshold
  shuffled = published("Shuffled captions").shares
  assert 1 - shuffled.knowledge_kept == pytest.approx(0.09 / 0.638)


def test_published_leakage_decides_by_its_printed_digits():
  assert published("CLIPErase").shares.leak_removed == pytest.approx(1 - 0.001 / 0.10158)
  assert "ineffective" not in published("CLIPErase").failures  # 99.02 %
  assert "ineffective" in published("Fine-tuning").failures  # 97.0 %
  # A printed .001 stands for .0005 to .0015: the threshold of 99 % lies between them.
  at = {
    r1: diagnose(
      dict(COMPROMISED, **{"RetFail_R@1": r1}), CLEAN, COMPROMISED, leakage="RetFail_R@1"
    ).word
    for r1 in (0.0005, 0.00101, 0.00102, 0.00149)
  }
  assert list(at.values()) == ["passes", "passes", "ineffective", "ineffective"]


def test_the_bounds_themselves_get_the_words_they_deserve():
  clean = diagnose(CLEAN, CLEAN, COMPROMISED)
  assert clean.word == "over-generalised"
  assert clean.shares[:3] == (1, 0, 0)
  compromised = diagnose(COMPROMISED, CLEAN, COMPROMISED)
  assert compromised.word == "ineffective"
  assert compromised.shares == (0, 1, 1, 1)


def model(leakage=1.0, knowledge=0.0, inter=0.0, intra=0.0):
  """Scores with the given leakage reduction and losses, between bounds of 0.0 and 1.0."""
  return {"RetFail_MRR": 1 - leakage, "GenKnow": 1 - knowledge, "InterIdSim": 1 - inter,
          "IntraIdSim": 1 - intra}  # fmt: skip


LOW, HIGH = dict.fromkeys(model(), 0.0), dict.fromkeys(model(), 1.0)


@pytest.mark.parametrize("bad", list(itertools.product([False, True], repeat=3)))
def test_failure_modes_are_joined_in_a_fixed_order(bad):
  ineffective, catastrophic, general = bad
  verdict = diagnose(
    model(
      leakage=0.98 if ineffective else 0.995,
      knowledge=0.02 if catastrophic else 0.005,
      intra=0.06 if general else 0.04,
    ),
    LOW,
    HIGH,
  )
  words = ("ineffective", "catastrophic", "over-generalised")
  applying = tuple(word for word, applies in zip(words, bad, strict=True) if applies)
  assert verdict.failures == applying
  assert verdict.word == (" + ".join(applying) or "passes")


@pytest.mark.parametrize("gap", ["inter", "intra"])
def test_either_holdout_gap_is_enough_to_over_generalise(gap):
  assert diagnose(model(**{gap: 0.06}), LOW, HIGH).word == "over-generalised"
  assert diagnose(model(**{gap: 0.04}), LOW, HIGH).word == "passes"
  assert diagnose(model(**{gap: -0.5}), LOW, HIGH).word == "passes"


def test_more_leakage_than_compromised_is_a_negative_reduction():
  assert diagnose(model(leakage=-0.5), LOW, HIGH).shares.leak_removed == pytest.approx(-0.5)


def test_thresholds_decide_and_have_to_be_complete():
  strict = dict(THRESHOLDS, holdout_kept=0.999)
  assert diagnose(model(inter=0.01), LOW, HIGH, strict).word == "over-generalised"
  assert diagnose(model(inter=0.01), LOW, HIGH).word == "passes"
  for wrong in ({"leak_removed": 0.9}, THRESHOLDS | {"leekage": 1}):
    with pytest.raises(InputError, match="holdout_kept, knowledge_kept, leak_removed"):
      diagnose(model(), LOW, HIGH, wrong)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.5])
def test_a_threshold_that_is_no_share_is_refused(value):
  with pytest.raises(InputError, match=r"thresholds: holdout_kept = .*it must be a share"):
    diagnose(model(), LOW, HIGH, dict(THRESHOLDS, holdout_kept=value))


def test_unmeasured_general_knowledge_is_said():
  blind = diagnose(model() | {"GenKnow": None}, LOW, HIGH)
  assert blind.word == "passes, general knowledge not measured"
  assert blind.shares.knowledge_kept is None and blind.failures == ()
  without_bound = diagnose(model(leakage=0.5), LOW, HIGH | {"GenKnow": None})
  assert without_bound.word == "ineffective, general knowledge not measured"
  assert "GenKnow" not in describe(without_bound)


@pytest.mark.parametrize("key", ["RetFail_MRR", "InterIdSim", "IntraIdSim"])
@pytest.mark.parametrize(("who", "whose"), [(0, "the model"), (1, "Clean"), (2, "Compromised")])
def test_a_missing_number_is_an_error_that_names_it(key, who, whose):
  for hole, word in ((None, "missing"), (float("nan"), "nan")):
    tables = [model(), dict(LOW), dict(HIGH)]
    tables[who][key] = hole
    with pytest.raises(InputError, match=f"{key}: the value of {whose} is {word}"):
      diagnose(*tables)
  del tables[who][key]
  with pytest.raises(InputError, match=f"{key}: the value of {whose} is missing"):
    diagnose(*tables)


def test_a_general_knowledge_that_is_nan_is_an_error():
  with pytest.raises(InputError, match="GenKnow: the value of the model is nan"):
    diagnose(model() | {"GenKnow": float("nan")}, LOW, HIGH)


@pytest.mark.parametrize("key", ["RetFail_MRR", "InterIdSim", "IntraIdSim"])
def test_compromised_not_above_clean_is_an_error(key):
  for level in (0.0, -0.1):
    with pytest.raises(InputError, match=f"{key}: Compromised has .* must be above Clean"):
      diagnose(model(), LOW, HIGH | {key: level})


def test_compromised_without_general_knowledge_is_an_error():
  with pytest.raises(InputError, match="GenKnow: Compromised has 0"):
    diagnose(model(), LOW, HIGH | {"GenKnow": 0.0})


def test_the_description_states_the_numbers():
  text = describe(published("VLUnlearn"))
  assert text == (
    "over-generalised: leak removed 99.0% (RetFail_R@1), InterIdSim kept 37.6%, "
    "IntraIdSim kept 37.6%, GenKnow kept 100.0%"
  )


def test_the_meaning_of_a_failure_has_its_threshold_and_its_metrics():
  said = [meaning(failure, dict(THRESHOLDS, leak_removed=0.995)) for failure in FAILURES]
  assert said == [
    "less than 99.5% of the gap in RetFail_MRR between Compromised and Clean is closed",
    "more than 1% of Compromised's GenKnow is lost",
    "more than 5% of the gap between Compromised and Clean is lost in InterIdSim or IntraIdSim",
  ]


RESULTS = {
  "efficacy": {
    "1.1_RetFail": {"R@1": 0.1, "MRR": 0.2, "outcomes": [3, 0]},
    "1.2_AssocStr": {"mean": 0.3, "scores": [0.3]},
    "1.3_ACS": {"acs_accuracy": 0.95},
    "1.4_IdZSC": {"identity_classification_accuracy": 0.08},
    "1.5_CoreAssoc": {"mean": 0.18, "scores": [0.18]},
  },
  "utility": {
    "2.1_GenKnow": {"ImageNet1k_Accuracy": 0.638},
    "2.2_InterIdSim": {"mean": 0.321, "scores": [0.321]},
    "2.3_IntraIdSim": {"mean": 0.322, "scores": [0.322]},
    "2.4_VisIdInt": {"mean": 0.305, "scores": [0.305]},
    "2.5_FragSim": {"mean": 0.28, "scores": [0.28]},
  },
}
FLAT = {
  "RetFail_R@1": 0.1, "RetFail_MRR": 0.2, "AssocStr": 0.3, "ACS": 0.95, "IdZSC": 0.08,
  "CoreAssoc": 0.18, "GenKnow": 0.638, "InterIdSim": 0.321, "IntraIdSim": 0.322,
  "VisIdInt": 0.305, "FragSim": 0.28,
}  # fmt: skip


def results(section=None, metric=None, **changes):
  """A fresh copy of RESULTS, with one metric's object changed."""
  copy = json.loads(json.dumps(RESULTS))
  if section:
    copy[section][metric].update(changes)
  return copy


def test_flatten_reads_every_metric_from_the_released_shape():
  younger = {key: None for key, metric in metrics_table.METRICS.items() if metric.since > 1}
  assert lookup.flatten(results() | {"extra": 1}) == FLAT | younger
  assert [*FLAT, *younger] == list(metrics_table.METRICS)


def test_flatten_reports_what_is_missing_as_none():
  holes = results("efficacy", "1.2_AssocStr", mean=None)
  del holes["utility"]["2.5_FragSim"], holes["efficacy"]["1.1_RetFail"]["MRR"]
  missing = dict.fromkeys(("AssocStr", "FragSim", "RetFail_MRR"))
  found = lookup.flatten(holes)
  assert {key: found[key] for key in FLAT} == FLAT | missing


def test_a_general_knowledge_of_minus_one_is_not_measured():
  for absent in (-1, -1.0):
    unmeasured = results("utility", "2.1_GenKnow", ImageNet1k_Accuracy=absent)
    assert lookup.flatten(unmeasured)["GenKnow"] is None
  negative = results("utility", "2.2_InterIdSim", mean=-1)
  assert lookup.flatten(negative)["InterIdSim"] == -1.0  # a cosine may be that


def test_flatten_refuses_what_is_not_a_results_file():
  with pytest.raises(InputError, match="no section 'utility', found 'efficacy'"):
    lookup.flatten({"efficacy": {}})
  with pytest.raises(InputError, match="no section 'efficacy', found nothing"):
    lookup.flatten({})
  for value in ("0.3", True, [0.3]):
    with pytest.raises(InputError, match=r"efficacy/1\.2_AssocStr/mean is .*; it must be a number"):
      lookup.flatten(results("efficacy", "1.2_AssocStr", mean=value))
  flat_metric = results()
  flat_metric["efficacy"]["1.3_ACS"] = 0.9
  with pytest.raises(InputError, match=r"efficacy/1\.3_ACS is 0\.9; .* key 'acs_accuracy'"):
    lookup.flatten(flat_metric)


def test_distance_is_signed_and_measured_from_the_pillar_s_bound():
  for key, metric in metrics_table.METRICS.items():
    bound = 0.25 if metric.id.startswith("1.") else 0.75
    assert lookup.distance(metric, 0.5, clean=0.25, compromised=0.75) == 0.5 - bound, key
  metric = metrics_table.METRICS["InterIdSim"]
  assert lookup.distance(metric, None, 0.25, 0.75) is None
  assert lookup.distance(metric, 0.5, 0.25, None) is None
  assert lookup.distance(metric, 0.5, None, 0.75) == -0.25


def test_only_the_metrics_that_clean_raises_are_floors():
  floors = [key for key, metric in metrics_table.METRICS.items() if metric.better == "floor"]
  assert floors == ["VisIdInt", "FragSim"]
  down = [key for key, m in metrics_table.METRICS.items() if m.better in ("lower", "equal")]
  assert down == [key for key, metric in metrics_table.METRICS.items() if metric.bound == "clean"]


def test_the_default_leakage_is_the_reciprocal_rank():
  verdict = diagnose(model() | {"RetFail_R@1": 1.0}, LOW, HIGH)
  assert verdict.leakage_metric == "RetFail_MRR"
  assert verdict.shares.leak_removed == 1.0
  assert diagnosis.THRESHOLDS["leak_removed"] == 0.99
