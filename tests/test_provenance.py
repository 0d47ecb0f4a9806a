"""Results say what they were made with, and are stale when that changes."""

import json

import littlejob
import numpy as np
import pytest
from littlejob import changed

from salmu_jax.benchmark import provenance
from salmu_jax.data import imagenet, releases
from salmu_jax.results import lookup


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  return littlejob.make(tmp_path_factory.mktemp("provenance"))


def test_a_compat_file_says_minus_one_where_general_knowledge_was_not_measured():
  results = {
    "efficacy": {"1.3_ACS": {"acs_accuracy": 0.5}},
    "utility": {"2.1_GenKnow": {"ImageNet1k_Accuracy": None}, "2.2_InterIdSim": {"mean": 0.1}},
  }
  assert lookup.compat(results)["utility"]["2.1_GenKnow"] == {"ImageNet1k_Accuracy": -1}
  assert results["utility"]["2.1_GenKnow"] == {"ImageNet1k_Accuracy": None}
  results["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] = 0.6
  assert lookup.compat(results) == results


def test_results_say_which_settings_they_depend_on(world):
  job, data = world
  inputs = provenance.result_inputs(job, data, "mine")
  other = changed(job)
  other.config.evaluate.gallery = 3
  assert provenance.result_inputs(other, data, "mine") != inputs
  other.config.evaluate.update(gallery=job.config.evaluate.gallery, batch_size=1)
  assert provenance.result_inputs(other, data, "mine") == inputs


def test_another_fragile_set_or_other_pictures_to_classify_make_results_stale(world):
  job, data = world
  inputs = provenance.result_inputs(job, data, "mine")
  classes = imagenet.ZeroShotSet("x", ("a",), ("{}",), [], np.zeros(0, np.int32), "digest")
  assert provenance.result_inputs(job, data._replace(zero_shot=classes), "mine") != inputs
  path = data.release.path / releases.FRAGILE
  path.write_text(json.dumps([releases.columns(data.release, "retain_synth")["file_name"][3]]))
  try:
    assert provenance.result_inputs(job, data, "mine") != inputs
  finally:
    path.unlink()
