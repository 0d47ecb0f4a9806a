"""What one touches to add a metric or a split: a row of a table, and a function for its rows."""

import csv
import io
import json
import pathlib
import re

import numpy as np
import pytest
from madeup import everything, save, with_facts, with_rows
from rich.console import Console
from test_evaluator import World

from salmu_jax.data import pipeline
from salmu_jax.errors import InputError
from salmu_jax.evaluate import measures
from salmu_jax.report import writing
from salmu_jax.results import collecting, row_checks, schema, strict
from salmu_jax.results.lookup import put, rows_at
from salmu_jax.results.metrics_table import METRICS, Metric, own_path
from salmu_jax.results.reading import read_results
from salmu_jax.results.splits import PEOPLE, SPLITS, Split

KEY, ID = "Length", "3.1_Length"
NEW = Metric(
  ID,
  "Length of the captions",
  path=own_path(ID, "mean"),
  rows=own_path(ID, "scores"),
  kind="cosine",
  split="holdout_identity",
  measure="length",
  reduction="mean",
  bound="compromised",
  better="higher",
  about="a hundredth of the letters of each caption of holdout_identity",
  since=3,
)


def lengths(judged, split):
  return np.array([len(text) / 100 for text in judged.column(split, "text")])


@pytest.fixture
def metric(monkeypatch):
  monkeypatch.setitem(METRICS, KEY, NEW)
  monkeypatch.setitem(measures.MEASURES, "length", lengths)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  return World(tmp_path_factory.mktemp("world"))


def test_a_metric_of_a_row_and_a_function_is_in_the_results(world, metric):
  results = world.evaluator.run(world.params)
  captions = world.evaluator.tables["holdout_identity"]["text"]
  expected = [len(text) / 100 for text in captions]
  assert rows_at(results, NEW.rows) == expected
  assert rows_at(results, NEW.path) == pytest.approx(np.mean(expected))


def test_the_metric_of_the_recipe_is_measured_as_its_row_says(world, monkeypatch):
  text = (pathlib.Path(__file__).parents[1] / "docs" / "extend.md").read_text(encoding="utf-8")
  block = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
  ((key, row),) = eval(f"{{{block}}}", {"Metric": Metric, "own_path": own_path}).items()
  monkeypatch.setitem(METRICS, key, row)
  results = world.evaluator.run(world.params)
  scores = np.array(rows_at(results, row.rows))
  whole = world.evaluator.derived()["forget_identity"][1]
  assert scores.tolist() == np.array(results["efficacy"]["1.2_AssocStr"]["scores"])[whole].tolist()
  assert rows_at(results, row.path) == pytest.approx(np.mean(scores))


def judged(versions):
  """Made-up results of these file versions; those of version 3 hold the new metric."""
  results = [with_facts(with_rows(result)) for result in everything()]
  for number, (result, version) in enumerate(zip(results, versions, strict=False)):
    result["salmu_jax"]["file_version"] = version
    if version > 2:
      rows = (np.linspace(0.1, 0.3, 200) + number / 100).tolist()
      put(result, NEW.rows, rows)
      put(result, NEW.path, float(np.mean(rows)))
  return results


def test_a_new_metric_is_in_every_table_and_an_older_file_shows_it_as_missing(tmp_path, metric):
  results = judged([3, 3, 3, 2, 3, 3])
  folder, output = save(tmp_path / "results", *results), tmp_path / "out"
  writing.report_folder(folder, output, Console(file=io.StringIO(), width=120))
  old, new = (results[at]["salmu_jax"]["model"] for at in (3, 2))
  value = rows_at(results[2], NEW.path)
  lines = {
    row["model"]: row
    for row in csv.DictReader(io.StringIO((output / "leaderboard.csv").read_text()))
  }
  assert float(lines[new][KEY]) == value and lines[old][KEY] == "missing"
  text = (output / "leaderboard.md").read_text()
  assert f"{KEY} (Compromised)" in text and NEW.name in text
  *_, line = (line for line in text.split("## Recov")[0].splitlines() if f"| {old} |" in line)
  assert "missing" in line
  statistics = json.loads((output / "statistics.json").read_text())["tables"]
  ((_, table),) = statistics.items()
  low, high = table["intervals"][new][KEY]
  assert low < value < high and table["intervals"][old][KEY] is None
  models = {m["model"]: m for m in json.loads((output / "diagnosis.json").read_text())["models"]}
  assert models[new]["distances"][KEY] == value - rows_at(results[1], NEW.path)
  assert models[old]["distances"][KEY] is None
  assert NEW.name in (output / "leaderboard.html").read_text()


def test_a_file_has_to_hold_the_metrics_of_its_version_and_no_younger_ones(tmp_path, metric):
  newest = judged([3] * 6)
  del newest[2]["salmu_jax"]["additional"]["metrics"]
  with pytest.raises(InputError, match=r"02\.json lacks salmu_jax\.additional\.metrics"):
    read_results(save(tmp_path / "newest", *newest))
  assert len(read_results(save(tmp_path / "older", *judged([2] * 6)))) == 6
  where = ("salmu_jax", "additional", "metrics")
  assert where in dict(schema.invalid(newest[2]))
  assert where not in dict(schema.invalid(judged([2] * 6)[2]))


def test_a_split_of_one_row_is_grouped_counted_required_and_closed_to_training(world, monkeypatch):
  first = lambda columns, _: (i == 0 for i, _ in enumerate(columns["forget"]["identity_id"]))
  monkeypatch.setitem(SPLITS, "first", Split(part_of="forget", mask=first, pool=PEOPLE, since=3))
  monkeypatch.setitem(SPLITS, "later", Split(part_of="forget", mask=lambda *_: None, pool=PEOPLE))
  results = world.evaluator.run(world.params)
  groups = results["salmu_jax"]["additional"]["rows"]["groups"]
  assert groups["first"] == groups["forget"][:1]
  assert "later" not in groups  # nobody knows its rows yet
  assert world.evaluator.derived()["first"][1].sum() == 1
  needed = lambda version: schema.make(version)["$defs"]["release"]["properties"]["derived"]
  assert "first" in needed(3)["required"] and "first" not in needed(1)["required"]
  with pytest.raises(InputError, match="Training code requested the split 'first'"):
    pipeline.open_training({"first": []}, "forget", ["first"])


def test_a_metric_on_a_new_split_measures_its_rows_alone(world, monkeypatch):
  half = lambda columns, _: (i % 2 == 0 for i, _ in enumerate(columns["forget"]["identity_id"]))
  monkeypatch.setitem(SPLITS, "half", Split(part_of="forget", mask=half, pool=PEOPLE, plotted=True))
  similarity = METRICS["AssocStr"]._replace(
    path=own_path("3.2_Half", "mean"), rows=own_path("3.2_Half", "scores"), split="half", part=""
  )
  monkeypatch.setitem(METRICS, "HalfSim", similarity)
  results = world.evaluator.run(world.params)
  assert rows_at(results, similarity.rows) == results["efficacy"]["1.2_AssocStr"]["scores"][::2]


@pytest.fixture
def plotted(monkeypatch):
  """A metric that is plotted and broken down, of the second version of the results file."""
  metric = METRICS["InterIdSim"]._replace(
    path=own_path("3.3_Again", "mean"), rows=own_path("3.3_Again", "scores"), part="again", since=3
  )
  monkeypatch.setitem(METRICS, "Again", metric)
  return metric


def test_a_file_older_than_a_metric_of_a_plotted_and_broken_down_split_is_read_beside_newer_ones(
  tmp_path, plotted
):
  results = [with_facts(with_rows(result)) for result in everything()]
  for number in (0, 1, 2, 4, 5):
    results[number]["salmu_jax"]["file_version"] = 3
    rows = rows_at(results[number], METRICS["InterIdSim"].rows)
    put(results[number], plotted.rows, rows)
    put(results[number], plotted.path, float(np.mean(rows)))
  folder = save(tmp_path / "results", *results)
  assert len(read_results(folder)) == 6
  tables, left_out = collecting.collect([folder])
  assert [len(table.results) for table in tables] == [6] and not left_out


def test_a_submission_older_than_a_metric_and_a_split_fits_the_schema_as_it_did(
  monkeypatch, plotted
):
  path = pathlib.Path(__file__).parents[1] / "experiments/mini/results/anchored.json"
  monkeypatch.setitem(SPLITS, "younger", Split(part_of="forget", pool=PEOPLE, since=3))
  assert row_checks.problems(strict.read(path), None, ()) == {}
