"""The study of robustness to relearning: its ways are possible, and its kept runs are of them."""

import optax
import pytest

from experiments.anchored import variants
from experiments.anchored.bench import factory
from experiments.strict import robust, robust_table
from salmu_jax.methods import runs
from salmu_jax.runtime import files


@pytest.mark.parametrize("label", robust.WAYS)
def test_every_way_of_the_study_makes_the_method(label):
  way = robust.WAYS[label]
  make = factory("anchored", {"robust": way} if way else {}, steps=4, seed=0)
  method = make(optax.sgd(0.1))
  assert (method.point is None) == (way is None or way[0] == "undo")


def test_kept_runs_have_the_settings_of_their_labels():
  record = files.read_json(robust.RESULTS / "robust-seed-0.json")
  assert set(record["runs"]) == set(robust.WAYS) and record["seed"] == robust.SEED
  for label, run in record["runs"].items():
    assert run["settings"] == runs.training_settings(robust.settings(label))


def test_as_it_is_the_method_gives_what_the_study_of_anchored_kept():
  own = files.read_json(robust.RESULTS / "robust-seed-0.json")["runs"]["plain"]
  kept = files.read_json(robust.RESULTS.parents[1] / "anchored" / "results" / "seed-0.json")
  same = kept["runs"][variants.at(variants.COMPARED)]
  assert own["clauses"] == same["clauses"] and own["settings"] == same["settings"]


def test_the_table_has_a_row_for_every_way():
  lines = robust_table.section().splitlines()
  assert [line.split("|")[1].strip() for line in lines[3:]] == list(robust.WAYS)


def test_an_unknown_label_is_refused_with_the_known_ones(capsys):
  with pytest.raises(SystemExit):
    robust.main(["runs", "sum"])
  assert "no label 'sum'; labels are plain, sam" in capsys.readouterr().err
