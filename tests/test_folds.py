"""Forgetting in folds, and baselines with the optimizer and batches of `anchored`."""

import types
from typing import NamedTuple

import numpy as np
import pytest

from experiments.baselines import cut, space
from experiments.strict import alike, folds, frontier, frontier_table
from salmu_jax.data.records import Rows
from salmu_jax.methods import runs

ROWS = 24  # of forget: two of each fact


class FakeData(NamedTuple):
  """The part of `Data` that a fold reads."""

  records: dict
  release: object = None

  def splits(self, purpose):
    assert purpose == "retain"
    return ("retain_synth",)


class FakeBench:
  """Records what every run reads, and adds one to each parameter that a row of forget names."""

  def __init__(self):
    forget = Rows([{"row": f"forget {n}"} for n in range(ROWS)], range(ROWS))
    retain = Rows([{"row": f"retain {n}"} for n in range(30)], range(30))
    self.data = FakeData({"forget": forget, "retain_synth": retain})
    self.job = types.SimpleNamespace(config=types.SimpleNamespace(seed=0))
    self.start, self.runs = {"w": np.zeros(ROWS)}, []

  def unlearn(self, settings, make, label):
    read = {k: [row["row"] for row in rows] for k, rows in self.data.records.items()}
    self.runs.append((read, settings.budget))
    moved = self.start["w"].copy()
    for name in read["forget"]:
      moved[int(name.split()[1])] += 1
    return {"w": moved}, 10, 1.0


@pytest.fixture
def bench(monkeypatch):
  told = [types.SimpleNamespace(identity=str(n // 4), field=str(n // 2 % 2)) for n in range(ROWS)]
  monkeypatch.setattr(frontier, "leaks", lambda release, columns: told)
  monkeypatch.setattr(frontier.releases, "columns", lambda release, split: None)
  return FakeBench()


def test_folds_part_the_facts_and_keep_the_rows_of_a_fact_together(bench):
  fold = frontier.folds_of_forget(bench, folds.FOLDS)
  assert sorted(np.bincount(fold)) == [6, 6, 6, 6]
  assert (fold[0::2] == fold[1::2]).all()


def test_layers_forget_each_fold_once_and_hold_the_later_ones_beside_retain(bench):
  fold, start, whole = frontier.folds_of_forget(bench, folds.FOLDS), bench.start, bench.data
  params, steps, seconds = folds.layered(bench)
  assert (params["w"] == 1).all() and (steps, seconds) == (40, 4.0)
  assert bench.start is start and bench.data is whole
  for number, (read, budget) in enumerate(bench.runs):
    assert read["forget"] == [f"forget {n}" for n in np.flatnonzero(fold == number)]
    later = {f"forget {n}" for n in np.flatnonzero(fold > number)}
    held = [name for name in read["retain_synth"] if name.startswith("forget")]
    assert set(held) == later and len(held) == (30 if later else 0)
    assert budget == frontier.variants.COMPARED / folds.FOLDS


def test_folds_apart_all_start_from_compromised_and_their_changes_add_up(bench):
  params, _, _ = folds.merged(bench)
  assert (params["w"] == 1).all()
  assert all(
    not name.startswith("forget") for read, _ in bench.runs for name in read["retain_synth"]
  )


def test_the_kept_runs_by_fold_have_the_steps_of_one_run_at_5x():
  record = frontier_table.kept(folds.NAME)["runs"]
  assert list(record) == [label for label, _ in folds.WAYS.values()]
  whole = frontier_table.record("seed-0")["runs"][frontier.at(5.0)]["steps"]
  assert {run["steps"] for run in record.values()} == {whole}


def test_baselines_alike_have_anchoreds_optimizer_and_batches_and_their_own_arguments():
  run = alike.settings("npo", 1e-3, {"beta": 1.0}, 5.0)
  own = frontier.settings()
  assert run.batch_size == own.batch_size and run.optimizer.name == own.optimizer.name
  assert run.args.to_dict() == {"beta": 1.0} and run.optimizer.learning_rate == 1e-3


def test_the_kept_baselines_alike_are_all_that_train_each_with_the_rate_of_its_search():
  record = frontier_table.kept(alike.NAME)
  assert list(record["runs"]) == list(record["searches"]) == list(alike.NAMES)
  start = alike.tabulate.records()["npo"]["start"]
  for name, trials in record["searches"].items():
    up = [trial["learning_rate"] for trial in trials if trial["learning_rate"] >= alike.RATES[0]]
    assert up == list(alike.RATES[: len(up)])
    weaker = [min(cut.shares(trial, start)) for trial in trials[: len(up)]]
    assert len(up) == len(alike.RATES) or weaker[-1] < max(weaker) - space.PAST
    best = alike.study.chosen(trials, start)
    right = alike.settings(name, best["learning_rate"], best["args"], 5.0)
    assert record["runs"][name]["settings"] == runs.training_settings(right)
