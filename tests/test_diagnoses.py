"""Where models fail: groups of rows by hand, the diagnosis files and the heat map."""

import io
import json
import types

import matplotlib
import numpy as np
import pytest
from madeup import everything, save
from rich.console import Console

from salmu_jax.evaluate import groups
from salmu_jax.report import __main__ as command
from salmu_jax.report import diagnoses, figures, heatmap, writing
from salmu_jax.results import breakdown, diagnosis
from salmu_jax.results.diagnosis import THRESHOLDS

RELEASE = types.SimpleNamespace(
  captions={
    "a": {"data_field": "city", "style": "web"},
    "b": {"data_field": "city", "style": "form"},
    "c": {"data_field": "job", "style": "web"},
    "d": {"data_field": "job"},
  }
)


TABLES = {
  "forget": {"file_name": ["a", "b", "c"], "identity_id": ["1", "1", "2"]},
  "holdout_identity": {"file_name": ["d"], "identity_id": ["9"]},
  "holdout_association": {"file_name": ["c", "a"], "identity_id": ["1", "1"]},
}
RESULTS = {
  "efficacy": {
    "1.1_RetFail": {"outcomes": [0, 1, 3]},
    "1.2_AssocStr": {"scores": [0.2, 0.4, 0.9]},
  },
  "utility": {"2.2_InterIdSim": {"scores": [0.5]}, "2.3_IntraIdSim": {"scores": [0.1, 0.3]}},
}


def test_groups_are_measured_on_their_rows_alone():
  by_split = breakdown.measure(RESULTS, groups.breakdown_labels(RELEASE, TABLES))
  city = by_split["forget"]["field"]["city"]
  assert city["rows"] == 2
  assert city["similarity"] == pytest.approx(0.3)
  assert city["MRR"] == pytest.approx((1 + 1 / 2) / 2)
  assert by_split["forget"]["style"]["web"]["MRR"] == pytest.approx((1 + 1 / 4) / 2)
  assert by_split["forget"]["identity"]["2"] == {"rows": 1, "similarity": 0.9, "MRR": 0.25}
  assert by_split["holdout_association"]["identity"]["1"]["similarity"] == pytest.approx(0.2)
  assert "MRR" not in by_split["holdout_association"]["field"]["job"]


def test_a_kind_that_the_metadata_does_not_tell_for_every_row_is_left_out():
  labels = groups.breakdown_labels(RELEASE, TABLES)
  assert set(labels["forget"]) == {"field", "style", "identity"}
  assert set(labels["holdout_identity"]) == {"field", "identity"}


def table(mrr, inter, intra):
  part = lambda **numbers: {"field": {"city": {"rows": 4, **numbers}}}
  return {
    "forget": part(MRR=mrr, similarity=0.0),
    "holdout_identity": part(similarity=inter),
    "holdout_association": part(similarity=intra),
  }


def test_groups_are_placed_between_the_bounds_and_left_open_where_there_is_no_gap():
  clean, compromised = table(0.0, 0.2, 0.5), table(0.4, 0.6, 0.5)
  (group,) = diagnosis.by_group(table(0.1, 0.3, 0.1), clean, compromised)
  assert group[:3] == ("field", "city", 4)
  assert 1 - group.shares.leak_removed == pytest.approx(0.25)
  assert 1 - group.shares.inter_kept == pytest.approx(0.75)
  assert group.shares.intra_kept is None
  del compromised["holdout_identity"]["field"]["city"]
  (group,) = diagnosis.by_group(table(0.1, 0.3, 0.1), clean, compromised)
  assert group.shares.inter_kept is None


def test_the_rows_of_all_groups_of_a_kind_average_to_the_whole():
  rng = np.random.default_rng(0)
  cosines, ranks = rng.normal(size=60), rng.integers(0, 50, 60)
  labels = {"forget": {"field": list(rng.choice(["x", "y", "z"], 60))}}
  results = {
    "efficacy": {
      "1.1_RetFail": {"outcomes": ranks.tolist()},
      "1.2_AssocStr": {"scores": cosines.tolist()},
    },
    "utility": {"2.2_InterIdSim": {"scores": []}, "2.3_IntraIdSim": {"scores": []}},
  }
  labels |= {"holdout_identity": {}, "holdout_association": {}}
  parts = breakdown.measure(results, labels)["forget"]["field"].values()
  mean = lambda key: sum(p["rows"] * p[key] for p in parts) / 60
  assert mean("similarity") == pytest.approx(cosines.mean())
  assert mean("MRR") == pytest.approx(np.mean(1 / (1 + ranks)))


def out_of(tmp_path, results, thresholds=THRESHOLDS):
  folder = save(tmp_path / "results", *results)
  writing.report_folder(
    folder, tmp_path / "out", Console(file=io.StringIO(), width=120), thresholds
  )
  return tmp_path / "out"


def test_the_diagnosis_names_the_failure_its_numbers_and_where_it_leaks(tmp_path):
  folder = out_of(tmp_path, everything())
  text = (folder / "diagnosis.md").read_text()
  section = text.split("## surgery")[1].split("## ")[0]
  assert "Passes: leak removed 100.0% (RetFail_MRR), InterIdSim kept" in section
  assert "| city | 10 | 0.0% |" in section and "| job | 10 | 100.0% |" in section
  assert (
    "Of the 2 people to forget that leak in Compromised, 1 still leak more than 1% of that. Worst: "
    "00000002" in section
  )
  models = json.loads((folder / "diagnosis.json").read_text())["models"]
  by_model = {model["model"]: model for model in models}
  assert by_model["surgery"]["verdict"]["failures"] == []
  kinds = [group["kind"] for group in by_model["finetune"]["groups"]]
  assert kinds == sorted(kinds, key=list(breakdown.KINDS).index)


def test_results_without_a_breakdown_are_diagnosed_all_the_same(tmp_path):
  results = everything()
  for entry in results:
    del entry["salmu_jax"]["additional"]
  folder = out_of(tmp_path, results)
  text = (folder / "diagnosis.md").read_text()
  assert "Passes" in text and "| private field" not in text
  assert (folder / "breakdown.png").stat().st_size > 1000


def test_thresholds_decide_verdicts_in_every_file_and_stale_reports_are_made_anew(tmp_path):
  lax = dict(THRESHOLDS, holdout_kept=0.3, leak_removed=0.9)
  folder = out_of(tmp_path, everything(), lax)
  rows = {row["model"]: row for row in json.loads((folder / "leaderboard.json").read_text())}
  assert rows["finetune"]["verdict"] == "passes"
  assert "more than 70% of the gap" in (folder / "leaderboard.md").read_text()
  assert "at least 30% of each holdout gap" in (folder / "diagnosis.md").read_text()
  assert writing.is_current(tmp_path / "results", folder, lax)
  assert not writing.is_current(tmp_path / "results", folder)
  # Also where no verdict changes.
  assert not writing.is_current(tmp_path / "results", folder, dict(lax, leak_removed=0.91))


@pytest.mark.parametrize("name", ["diagnosis.json", "leaderboard.json", "leaderboard.html"])
@pytest.mark.parametrize("content", ["[]", "null", "", '{"models": []}', '{"models'])
def test_a_damaged_report_is_made_anew(name, content, tmp_path):
  folder = out_of(tmp_path, everything()[:3])
  assert writing.is_current(tmp_path / "results", folder)
  (folder / name).write_text(content)
  damaged = name.endswith(".json") or not content  # a page is looked at for being there
  assert writing.is_current(tmp_path / "results", folder) != damaged


def test_the_command_takes_thresholds(tmp_path, capsys):
  folder = save(tmp_path / "results", *everything())
  command.main(
    [str(folder), f"--out={tmp_path / 'out'}", "--holdout-kept=0.3", "--leak-removed=0.9"]
  )
  capsys.readouterr()
  rows = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
  assert {r["model"]: r["verdict"] for r in rows}["finetune"] == "passes"


def test_the_heat_map_shows_each_number_once_fields_before_styles():
  results = everything()
  results.sort(
    key=lambda r: (
      ("clean", "compromised").index(r["salmu_jax"]["role"])
      if r["salmu_jax"]["role"] != "unlearned"
      else 2
    )
  )
  models = diagnoses.diagnoses(results, THRESHOLDS)
  with matplotlib.rc_context(figures.STYLE):
    figure = heatmap.breakdown(models)
  panels = figure.axes
  assert len(panels) == len(heatmap.PANELS)
  labels = [text.get_text() for text in panels[-1].get_xticklabels()]
  assert labels == ["city", "job", "web"]
  shown = np.array([text.get_text() for text in panels[0].texts]).reshape(len(models), 3)
  names = [text.get_text() for text in panels[0].get_yticklabels()]
  assert shown[names.index("surgery")].tolist() == ["100", "0", "0"]
