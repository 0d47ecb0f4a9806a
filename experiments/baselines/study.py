"""Tunes and runs every baseline: python -m experiments.baselines.study WORKDIR [NAME ...]

WORKDIR holds a finished mini run. Each method is searched on the validation split (`cut`, `space`),
then run with the chosen settings at every budget, and with the untuned settings of
configs/methods/NAME.vit_b16(). Every run is evaluated as in main.py. results/NAME.json gets the
method's trials after its search, and the complete record at its end. A complete record is only
made again if `space` changed, or for another Compromised.
"""

import argparse
import contextlib
import functools
import importlib
import inspect
import itertools
import json
import pathlib
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from experiments.baselines import cut, space
from experiments.finished import open_run
from experiments.unlearning import Unlearner, make_unlearner, unlearn
from salmu_jax import defaults, train
from salmu_jax.benchmark import stages
from salmu_jax.data import releases
from salmu_jax.errors import unknown
from salmu_jax.methods import MAKERS, METHODS, base, runs
from salmu_jax.results import lookup
from salmu_jax.runtime import files, progress
from salmu_jax.train import optimizers

HERE = pathlib.Path(__file__).parent
RESULTS = HERE / "results"


class Study:
  """The data, programs and evaluator that all methods share.

  Args:
    workdir: of a finished mini run.
    scratch: folder for records and caches.
  """

  def __init__(self, workdir: pathlib.Path, scratch: pathlib.Path):
    self.job, self.data, self.evaluator, self.bounds = open_run(workdir, scratch, "finetune")
    self.cut = cut.make(self.job, self.data, self.job.config.seed)
    self._embed = jax.jit(functools.partial(train.embed, self.job.model))
    self._batches, self._unlearners = {}, {}
    self.start = self.measure(self.bounds["compromised"])

  def measure(self, params: optax.Params) -> dict[str, float]:
    """The scores of parameters on the validation split, see `cut.measure`."""
    return cut.measure(lambda half: self._embed(params, half), self.cut)

  def judge(self, params: optax.Params) -> dict[str, float | None]:
    """{key of METRICS: score} of parameters; None for scores that are not finite."""
    values = lookup.flatten(self.evaluator.run(params))
    return {k: v if v is not None and np.isfinite(v) else None for k, v in values.items()}

  def train(self, name: str, settings: ConfigDict, *, on_cut: bool) -> tuple[optax.Params, int]:
    """Runs a method: (parameters, steps). `settings` are as config.unlearn.NAME."""
    data = self.data._replace(records=self.cut.records) if on_cut else self.data
    rows = len(data.records["forget"])
    steps = stages.budget_steps(settings, rows)
    unlearner = self._unlearner(name, settings, steps)
    batches = self._first_batches(data, settings, steps, unlearner.method.surrogates)
    measured = lambda: batches[: stages.measuring_steps(settings, rows)]
    start = self.bounds["compromised"]
    return unlearn(unlearner, start, settings.optimizer, batches, steps, measured), steps

  def _unlearner(self, name, settings, steps) -> Unlearner:
    """The compiled method. Runs share it if they differ only in the learning rate's schedule and
    the number of steps, unless the method itself depends on the steps.
    """
    args = settings.args.to_dict()
    optimizer = settings.optimizer.to_dict()
    optimizer = {k: v for k, v in optimizer.items() if k not in optimizers.SCHEDULE}
    length = steps if "steps" in inspect.signature(MAKERS[name]).parameters else None
    key = json.dumps([name, args, optimizer, length, settings.batch_size])
    if key not in self._unlearners:
      # Compiled programs take memory: drop those of other methods.
      self._unlearners = {k: v for k, v in self._unlearners.items() if json.loads(k)[0] == name}
      seed, job = self.job.config.seed, self.job
      make = lambda tx: base.build(MAKERS[name], tx, args, steps=steps, seed=seed)
      examples = lambda method: stages.unlearning_examples(job, self.data, method.surrogates)
      self._unlearners[key] = make_unlearner(make, settings, job.model, job.mesh, examples)
    return self._unlearners[key]

  def _first_batches(self, data, settings, steps, surrogates) -> list[dict]:
    """The first `steps` batches of the stream; all runs with a batch size read the same."""
    key = settings.batch_size, data is self.data, surrogates
    if len(self._batches.get(key, ())) < steps:
      stream = stages.unlearning_batches(self.job, data, settings, surrogates)
      with contextlib.closing(stream):
        self._batches[key] = list(itertools.islice(stream, steps))
    return self._batches[key][:steps]


def mini_settings(
  name: str, rate: float, args: dict, budget: float = space.SEARCH_BUDGET
) -> ConfigDict:
  """The settings of a run on mini, as `configs/methods/NAME.mini()` has them."""
  budget = 1.0 if name in space.ONE_PASS else budget
  settings = defaults.unlearning_run(name, learning_rate=rate, args=args, budget=budget)
  if name in space.OWN:
    own = space.OWN[name]
    settings.update(batch_size=own["batch_size"], optimizer=dict(name=own["optimizer"]))
  return settings


def made_with(name: str) -> str:
  """A digest of everything except the code that a method's record depends on."""
  search = [space.RATES, space.LOWER, space.PAST, space.KNOBS[name], space.SEARCH_BUDGET]
  rule = [cut.FORGET_SHARE, cut.RETAIN_SHARE, cut.TARGET, cut.FLOOR]
  batch = defaults.unlearning_run().batch_size
  own = [space.OWN[name]] if name in space.OWN else [batch]
  return files.digest([*search, space.BUDGETS, rule, *own])


def search(study: Study, name: str, recorded: Sequence[dict] = ()) -> list[dict]:
  """Every trial of a method on the cut: increasing rates until past the best, lower rates, then
  the knob.

  Args:
    study: runs and measures the trials.
    name: of the method.
    recorded: trials of an earlier search; they are not run again.
  """
  make = functools.partial(mini_settings, name)
  trials = []
  if name in space.ONE_PASS:
    attempt(study, name, make(space.RATES[0], {}), trials, recorded)
  else:
    search_rates(study, name, lambda rate: make(rate, {}), trials, recorded)
  rate = chosen(trials, study.start)["learning_rate"]
  if space.KNOBS[name]:
    knob, values = space.KNOBS[name]
    for value in values:
      attempt(study, name, make(rate, {knob: value}), trials, recorded)
  return trials


def search_rates(
  study: Study,
  name: str,
  make: Callable[[float], ConfigDict],
  trials: list[dict],
  recorded: Sequence[dict] = (),
  rates: tuple[Sequence[float], Sequence[float]] = (space.RATES, space.LOWER),
) -> None:
  """Adds the trials of learning rates to `trials`.

  Args:
    study: runs and measures the trials.
    name: of the method.
    make: make(rate) -> settings of a trial.
    trials: gets the trials.
    recorded: trials of an earlier search; they are not run again.
    rates: (rates tried upwards until past the best, lower rates tried as long as they help).
  """
  upwards, lower = rates
  best = -float("inf")
  for rate in upwards:
    weaker = attempt(study, name, make(rate), trials, recorded)
    if weaker < best - space.PAST:
      break
    best = max(best, weaker)
  for rate in lower:
    if chosen(trials, study.start)["learning_rate"] > rate * 4:
      break
    attempt(study, name, make(rate), trials, recorded)


def attempt(
  study: Study, name: str, settings: ConfigDict, trials: list[dict], recorded: Sequence[dict]
) -> float:
  """Adds a trial to `trials`, run on the validation split unless it is among `recorded`.

  Returns:
    The weaker of its two shares, which rises and then falls as the rate grows.
  """
  rate, args = settings.optimizer.learning_rate, settings.args.to_dict()
  same = [t for t in recorded if (t["learning_rate"], t["args"]) == (rate, args)]
  if not same:
    params, _ = study.train(name, settings, on_cut=True)
    values = study.measure(params)
    finite = {key: value if np.isfinite(value) else None for key, value in values.items()}
    same = [{"learning_rate": rate, "args": args, **finite}]
  trials.append(same[0])
  return min(cut.shares(trials[-1], study.start))


def chosen(trials: Sequence[dict], start: dict[str, float]) -> dict:
  """The trial that `cut.preference` ranks first; on a tie, the earlier one."""
  return max(trials, key=lambda trial: cut.preference(trial, start))


def tuned(study: Study, name: str, choice: dict) -> dict[str, dict]:
  """{budget: evaluated run} of the chosen settings, on all of forget and retain."""
  budgets = (1.0,) if name in space.ONE_PASS else space.BUDGETS
  runs = {}
  for budget in budgets:
    settings = mini_settings(name, choice["learning_rate"], choice["args"], budget)
    runs[f"{budget:g}"] = _judged(study, name, settings)
  return runs


def untuned(study: Study, name: str) -> dict | None:
  """The evaluated run of configs/methods/NAME.vit_b16() on mini; None if its settings are ours."""
  if name not in space.AUTHORS:
    return None
  settings = importlib.import_module(f"configs.methods.{name}").vit_b16()
  return {"settings": runs.training_settings(settings), **_judged(study, name, settings)}


def _judged(study, name, settings):
  began = time.monotonic()
  params, steps = study.train(name, settings, on_cut=False)
  seconds = time.monotonic() - began
  return {"steps": steps, "train_seconds": seconds, "scores": study.judge(params)}


def searched(study: Study, name: str, before: dict) -> dict:
  """Searches a method, and returns its record without the runs at every budget.

  Args:
    study: runs and measures.
    name: of the method.
    before: an earlier record for the same Compromised, or {}; its trials are reused.
  """
  began = time.monotonic()
  trials = search(study, name, before.get("trials", ()))
  best = chosen(trials, study.start)
  return {
    "method": name,
    "knob": space.KNOBS[name] and space.KNOBS[name][0],
    "start": study.start,
    "trials": trials,
    "chosen": {"learning_rate": best["learning_rate"], "args": best["args"]},
    "seconds": before.get("seconds", 0.0) + time.monotonic() - began,
  }


def judged(study: Study, record: dict, before: dict) -> dict:
  """Runs the chosen and the untuned settings, and returns the complete record of a method.

  Args:
    study: runs and evaluates.
    record: from `searched`.
    before: as for `searched`; its runs are reused if the choice is the same.
  """
  began, name, choice = time.monotonic(), record["method"], record["chosen"]
  same = "tuned" in before and before["chosen"] == choice
  runs_of = {
    "tuned": before["tuned"] if same else tuned(study, name, choice),
    "untuned": before["untuned"] if "untuned" in before else untuned(study, name),
  }
  seconds = record["seconds"] + time.monotonic() - began
  return {**record, **runs_of, "made_with": made_with(name), "seconds": seconds}


def mismatched(study: Study) -> float:
  """Mean cosine under Compromised between forget images and captions of other people."""
  z = study.evaluator.embed(study.bounds["compromised"])
  columns = releases.columns(study.data.release, "forget")
  other = columns["identity_id"][:, None] != columns["identity_id"][None, :]
  return float(np.mean((z.image["forget"] @ z.of(columns["text"]).T)[other]))


def bounds(study: Study) -> dict:
  """The metrics of Clean and Compromised, with the release, seed and device of the study."""
  return {
    "mismatched": mismatched(study),
    "release": study.data.release.digest,
    "seed": study.job.config.seed,
    "device": f"{jax.devices()[0].device_kind} x {study.job.mesh.size}",
    **{name: study.judge(params) for name, params in study.bounds.items()},
  }


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the methods whose record is missing, incomplete or out of date."""
  parser = argparse.ArgumentParser(prog="python -m experiments.baselines.study")
  parser.add_argument("workdir", type=pathlib.Path, help="of a finished mini run")
  parser.add_argument("names", nargs="*", metavar="NAME", help="methods; default: all")
  parser.add_argument("--search", action="store_true", help="search only; the rest comes later")
  args = parser.parse_intermixed_args(argv)
  for name in args.names:
    if name not in METHODS:
      parser.error(unknown("methods", name, list(METHODS)))
  workdir = args.workdir.absolute()
  records = {name: _read(name) for name in args.names or METHODS}
  study = Study(workdir, workdir / "baselines")
  files.write_json(RESULTS / "bounds.json", bounds(study))
  for name, record in records.items():
    before = record if record.get("start") == study.start else {}
    if before.get("made_with") == made_with(name):
      continue
    record = searched(study, name, before)
    keep = functools.partial(files.write_json, RESULTS / f"{name}.json")
    keep(record)
    progress.console.print(f"{name}: {record['chosen']} after {record['seconds']:.0f} s")
    if not args.search:
      keep(judged(study, record, before))


def _read(name):
  path = RESULTS / f"{name}.json"
  return files.read_json(path) if path.exists() else {}


if __name__ == "__main__":
  main()
