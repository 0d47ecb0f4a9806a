"""Published values against a second transcription of the sources, and releases against them."""

import io
import json
import re

import handmade
import pytest
from rich.console import Console

from salmu_jax.data import counts, releases
from salmu_jax.results import published
from salmu_jax.results.metrics_table import METRICS


def test_every_artifact_is_pinned_to_a_commit():
  assert len(published.REVISIONS) == 4
  for repo, revision in published.REVISIONS.items():
    assert repo.startswith("cvc-mmu/") and re.fullmatch("[0-9a-f]{40}", revision)
  assert published.REVISIONS[published.DATASET].startswith("b76aa388")
  assert published.REVISIONS[published.TRAINING_DATASET].startswith("11bc6fec")
  assert published.REVISIONS[published.CLEAN].startswith("1d3c0b01")
  assert published.REVISIONS[published.COMPROMISED].startswith("230b1b4f")
  assert published.DATASET == "cvc-mmu/salmubench-512-redistributed"
  assert published.COMPROMISED == "cvc-mmu/clip-vit-b-16-salmu-compromised"


def test_counts_are_the_published_ones_and_add_up():
  rows = {row["set"]: row["rows"] for row in published.COUNTS}
  people = {row["set"]: row["identities"] for row in published.COUNTS}
  assert rows["sensitive"] == 60_053 and people["sensitive"] == 774
  holdouts = "holdout_association", "holdout_identity"
  assert rows["sensitive"] == rows["forget"] + sum(rows[s] for s in holdouts)
  assert rows["forget"] == rows["forget_identity"] + rows["forget_association"]
  assert people["sensitive"] == people["forget"] + people["holdout_identity"]
  assert people["forget"] == people["forget_identity"] + people["holdout_association"]
  assert rows["fragile_set"] == round(rows["retain_disjoint"] / 10)
  inferred = [row["set"] for row in published.COUNTS if row["mark"] == "inferred"]
  assert inferred == ["retain_joint", "retain_disjoint", "fragile_set"]


def test_values_are_the_published_ones():
  clean, compromised = published.MODELS["clean"], published.MODELS["compromised"]
  released = [key for key, metric in METRICS.items() if metric.since == 1]
  assert list(clean) == list(compromised) == released
  assert clean["RetFail_MRR"] == 0.000815 and compromised["RetFail_MRR"] == 0.2361
  assert clean["VisIdInt"] == 0.33085 and compromised["VisIdInt"] == 0.30515
  methods = {row["name"]: row for row in published.METHODS}
  assert len(methods) == 8 and {row["budget"] for row in methods.values()} == {5}
  expected = {"RetFail_R@1": 0.003, "GenKnow": 0.638, "InterIdSim": 0.209, "IntraIdSim": 0.209}
  assert methods["Fine-tuning"]["scores"] == expected
  assert methods["Negative gradient"]["scores"]["IntraIdSim"] == 0.061
  assert methods["Shuffled captions"]["scores"]["GenKnow"] == 0.548
  assert methods["Generic captions"]["scores"] == {}
  assert published.SOURCE["arxiv"] == "2603.26316"


def compared(**sets):
  return {row.set: row for row in counts.compare(sets)}


def test_counts_agree_or_differ_by_rows_and_by_people():
  rows = compared(forget=(30_468, 580), holdout_identity=(14_642, 193), sensitive=(60_052, 774))
  assert rows["forget"] == ("forget", (30_468, 580), (30_468, 580), "known", True)
  assert rows["holdout_identity"].agrees is rows["sensitive"].agrees is False


def test_people_that_either_side_does_not_know_are_not_compared():
  rows = compared(forget=(30_468, None), retain_joint=(749, 12))
  assert rows["forget"].agrees is rows["retain_joint"].agrees is True
  assert rows["retain_joint"].mark == "inferred"


@pytest.mark.parametrize(
  ("rows", "agrees"), [(15_740, True), (15_662, True), (15_661, False), (15_819, False)]
)
def test_an_approximate_count_agrees_within_half_a_percent(rows, agrees):
  assert compared(retain_disjoint=(rows, 0))["retain_disjoint"].agrees is agrees


def test_an_exact_count_has_no_tolerance():
  assert compared(retain_joint=(750, None))["retain_joint"].agrees is False


def test_absent_sets_have_no_verdict_and_others_come_last():
  rows = counts.compare({"zero": (3, None), "forget_target": (7, None)})
  assert [row.set for row in rows[:-2]] == [row["set"] for row in published.COUNTS]
  assert {(row.counted, row.agrees) for row in rows[:-2]} == {(None, None)}
  assert rows[-2:] == [
    ("forget_target", (7, None), None, None, None),
    ("zero", (3, None), None, None, None),
  ]


@pytest.fixture
def folder(tmp_path):
  """Like the published benchmark: no training splits, a carried split, a fragile set."""
  absent = {"sensitive": None, "retain_real": None, "zero_shot": None}
  path = handmade.write(
    tmp_path / "release", absent | {"forget_target": [handmade.row(5000, "x")]}, 1
  )
  names = [row["file_name"] for row in handmade.splits()["retain_synth"][1:3]]
  (path / "fragile_set_ids.json").write_text(json.dumps(names))
  return path


def test_a_release_is_counted_set_by_set(folder):
  assert counts.count(releases.open_release(folder)) == {
    "forget": (12, 4),
    "forget_identity": (8, 2),
    "forget_association": (4, 2),
    "holdout_association": (4, 2),
    "holdout_identity": (8, 2),
    "retain_synth": (21, 1),
    "retain_joint": (1, 1),
    "retain_disjoint": (20, 0),
    "fragile_set": (2, 0),
    "forget_target": (1, None),
  }


def test_all_optional_splits_are_counted_where_they_are(tmp_path):
  sets = counts.count(releases.open_release(handmade.write(tmp_path / "release")))
  assert sets["sensitive"] == (24, 6) and sets["retain_real"] == (17, None)
  assert sets["zero_shot"] == (6, None) and "fragile_set" not in sets


def printed(release, width=100):
  console = Console(file=io.StringIO(), width=width, color_system=None)
  counts.print_counts(release, console)
  text = console.file.getvalue()
  return text, {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}


def test_the_printed_counts_say_what_agrees_differs_or_is_missing(folder, monkeypatch):
  ours = [dict(row, rows=12, identities=4) if row["set"] == "forget" else row
          for row in published.COUNTS]  # fmt: skip
  monkeypatch.setattr(published, "COUNTS", ours)
  text, lines = printed(releases.open_release(folder), 200)
  assert max(map(len, text.splitlines())) <= 100
  assert lines["forget"] == ["12", "12", "4", "4", "agrees"]
  assert lines["holdout_identity"] == ["8", "14,642", "2", "194", "differs"]
  assert lines["sensitive"] == ["-", "60,053", "-", "774", "missing"]
  assert lines["retain_disjoint"] == ["20", "~15,740*", "0", "-", "differs"]
  assert lines["forget_target"] == ["1", "-", "-", "-", "not", "published"]
  assert "arXiv 2603.26316" in text


def test_the_command_prints_the_table(folder, capsys):
  assert counts.main([str(folder)]) == 0
  text = capsys.readouterr().out
  assert re.search(r"^forget +12 +30,468 +4 +580 +differs *$", text, re.M)
  assert max(map(len, text.splitlines())) <= 100


def test_the_command_counts_the_training_data_beside_it(folder, tmp_path, capsys):
  splits = ("forget", "holdout_association", "holdout_identity", "retain_synth", "zero_shot")
  training = handmade.write(tmp_path / "training", dict.fromkeys(splits))
  assert counts.main([str(folder), "--training", str(training)]) == 0
  text = capsys.readouterr().out
  assert re.search(r"^sensitive +24 +60,053 +6 +774 +differs *$", text, re.M)
  assert re.search(r"^retain_real +17 +- +- +- +not published *$", text, re.M)


def test_the_command_fails_with_one_message(tmp_path, capsys):
  assert counts.main([str(tmp_path / "none")]) == 1
  captured = capsys.readouterr()
  assert captured.err.startswith("error: ") and "none" in captured.err and not captured.out
  assert counts.main(["hub:nobody"]) == 1
  assert "hub:OWNER/NAME" in capsys.readouterr().err
