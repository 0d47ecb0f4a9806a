"""Many folders in one report: what does not compare is kept apart, and what is left out is said."""

import copy
import io
import json

import pytest
from madeup import everything, result, save
from rich.console import Console

from salmu_jax.errors import InputError
from salmu_jax.report import __main__ as command
from salmu_jax.report import page, statistics_text, writing
from salmu_jax.results import collecting


def changed(one, **about):
  """A result with other facts of `salmu_jax`; of the release with keys `release_...`."""
  one = copy.deepcopy(one)
  for key, value in about.items():
    if key.startswith("release_"):
      one["salmu_jax"]["release"][key.removeprefix("release_")] = value
    else:
      one["salmu_jax"][key] = value
  return one


def of_seed(seed):
  digest = f"{seed:02d}" * 32
  facts = dict(seed=seed, release_manifest_sha256=digest, release_fragile_set_sha256=digest)
  return [changed(one, **facts, start=digest) for one in everything()]


def names(table):
  return [one["salmu_jax"]["model"] for one in table.results]


def test_seeds_in_one_folder_or_in_many_are_a_table_each(tmp_path):
  mixed = save(tmp_path / "mixed", *of_seed(0), *of_seed(1))
  apart = [save(tmp_path / f"{seed}" / "results", *of_seed(seed)) for seed in (0, 1)]
  for folders in ([mixed], [folder.parent for folder in apart]):
    tables, left_out = collecting.collect(folders)
    assert [table.label for table in tables] == [
      "mini, unit fact, seed 0",
      "mini, unit fact, seed 1",
    ]
    assert left_out == []
    for table in tables:
      assert names(table) == [one["salmu_jax"]["model"] for one in everything()]
      assert len({one["salmu_jax"]["seed"] for one in table.results}) == 1


def test_a_model_in_another_folder_joins_the_bounds_that_it_started_from(tmp_path):
  bounds = save(tmp_path / "bounds", *everything()[:2])
  more = save(tmp_path / "more", *everything()[2:4])
  (table,), left_out = collecting.collect([bounds, more])
  assert names(table) == ["clean", "compromised", "finetune", "shuffled_captions"] and not left_out


def test_other_ways_of_judging_are_other_tables_with_labels_of_their_own(tmp_path):
  one = save(tmp_path / "one", *everything())
  other = save(tmp_path / "other", *(changed(r, evaluation={"seed": 1}) for r in everything()))
  tables, _ = collecting.collect([one, other])
  labels = [table.label for table in tables]
  assert len(set(labels)) == 2 and all(
    label.startswith("mini, unit fact, seed 0 (") for label in labels
  )


def test_what_is_in_no_table_is_said_with_the_reason(tmp_path):
  good = everything()
  old = copy.deepcopy(good[3])
  del old["salmu_jax"]["release"]["fragile_set_sha256"]
  stray = changed(good[4], start="ef" * 32)
  twin = changed(good[2], steps=99)
  folder = save(tmp_path / "results", *good[:3], old, stray, twin)
  (folder / "broken.json").write_text("{")
  (table,), left_out = collecting.collect([folder])
  assert names(table) == ["clean", "compromised", "finetune"]
  reasons = {path.rsplit("/")[-1]: reason for path, reason in left_out}
  assert "lacks salmu_jax.release.fragile_set_sha256" in reasons["03.json"]
  assert "no Compromised of the same start" in reasons["04.json"]
  assert "02.json has another model of this name" in reasons["05.json"]
  assert "broken.json" in reasons and len(reasons) == 4


def test_bounds_without_their_partner_judge_nothing(tmp_path):
  no_clean = save(tmp_path / "a", *everything()[1:])
  tables, left_out = collecting.collect([no_clean])
  assert tables == [] and len(left_out) == len(everything()) - 1
  with pytest.raises(InputError, match="none of the 5 results files can be judged between"):
    writing.report_folders([no_clean], tmp_path / "out", Console(file=io.StringIO()))
  assert not (tmp_path / "out").exists()
  (tmp_path / "empty").mkdir()
  with pytest.raises(InputError, match="has no results files"):
    collecting.collect([tmp_path / "empty"])


def test_seeds_of_one_release_with_imported_bounds_are_tables_that_share_them(tmp_path):
  bounds = [changed(one, seed=None) for one in everything()[:2]]
  folders = []
  for seed in (0, 1):
    # Judged in each workdir again, at another pace.
    judged = [changed(one, evaluation_seconds=1.0 + seed, weights_sha256="aa") for one in bounds]
    folders.append(
      save(tmp_path / f"{seed}", *judged, changed(everything()[2], seed=seed, steps=100 + seed))
    )
  tables, left_out = collecting.collect(folders)
  assert [table.label for table in tables] == ["mini, unit fact, seed 0", "mini, unit fact, seed 1"]
  assert (
    all(names(table) == ["clean", "compromised", "finetune"] for table in tables) and not left_out
  )


def test_a_model_that_was_attacked_otherwise_is_left_out(tmp_path):
  relearning = lambda steps: {"names": ["Relearning"], "relearning": {"steps": [steps]}}
  soft, hard = relearning(5), relearning(500)
  judged = [changed(one, attacks=soft) for one in everything()]
  judged[3] = changed(judged[3], attacks=hard)
  judged[4] = changed(judged[4], attacks={"names": []})
  judged[5] = changed(judged[5], attacks={"names": ["Another"], "another": {"steps": 3}})
  (table,), left_out = collecting.collect([save(tmp_path, *judged)])
  assert len(names(table)) == len(judged) - 1
  assert [(path[-7:], "attack settings" in reason) for path, reason in left_out] == [
    ("03.json", True)
  ]


def test_a_mixed_folder_becomes_a_page_with_its_parts_apart(tmp_path, capsys):
  save(tmp_path / "run" / "results", *of_seed(0), *of_seed(1))
  assert command.main([str(tmp_path / "run")]) == 0
  printed = capsys.readouterr().out
  assert "mini, unit fact, seed 0" in printed and "mini, unit fact, seed 1" in printed
  assert {path.name for path in (tmp_path / "run").iterdir()} == {
    "results",
    page.FILE,
    *statistics_text.FILES,
  }


def test_the_same_folder_twice_counts_once(tmp_path):
  folder = save(tmp_path / "results", *everything())
  (table,), left_out = collecting.collect([folder, folder])
  assert names(table) == names(collecting.Table("", everything())) and not left_out


def test_the_command_makes_one_page_of_many_folders_and_puts_seeds_together(tmp_path, capsys):
  folders = [save(tmp_path / f"{seed}", *of_seed(seed)) for seed in (0, 1)]
  (folders[1] / "broken.json").write_text("[]")
  folder = tmp_path / "out"
  assert command.main([*map(str, folders), f"--out={folder}"]) == 0
  printed = capsys.readouterr().out
  assert (
    "left out:" in printed and "broken.json" in printed and "mini, unit fact, seed 1" in printed
  )
  assert {path.name for path in folder.iterdir()} == {page.FILE, *statistics_text.FILES}
  over = json.loads((folder / "statistics.json").read_text())["over_seeds"]
  assert over[0]["seeds"] == [0, 1] and set(over[0]["models"]) == {
    *names(collecting.Table("", everything()))
  }
  assert "Mean over seeds 0, 1" in (folder / "statistics.md").read_text()


def test_a_workdir_takes_its_report_itself_and_other_folders_have_to_say_where(tmp_path, capsys):
  save(tmp_path / "run" / "results", *everything())
  assert command.main([str(tmp_path / "run")]) == 0
  assert (tmp_path / "run" / page.FILE).exists()
  with pytest.raises(SystemExit):
    command.main([str(tmp_path / "run" / "results")])
  assert "--out=DIR is required" in capsys.readouterr().err


def test_imported_weights_join_the_bounds_beside_them(tmp_path):
  foreign = changed(result("surgery", model="theirs"), start=None, seed=None, steps=None)
  (table,), left_out = collecting.collect([save(tmp_path, *everything()[:2], foreign)])
  assert names(table)[-1] == "theirs" and not left_out
