"""Tunes and runs every baseline: python -m experiments.baselines.study WORKDIR [NAME ...]

WORKDIR holds a finished mini run. For each method: a search on the validation cut (`cut`, `space`),
the chosen settings at every budget, and the untuned ones of configs/methods/NAME.vit_b16(), each
judged as main.py judges. A method's part goes to results/NAME.json when it is done, and is made
anew only where search or choice have changed.
"""

import argparse
import contextlib
import importlib
import inspect
import itertools
import json
import pathlib
import time

import jax
import numpy as np

from experiments.baselines import cut as cut_lib
from experiments.baselines import space
from experiments.baselines.engine import Engine, Program
from experiments.finished import open_run
from salmu_jax import defaults
from salmu_jax.benchmark import stages
from salmu_jax.data import releases
from salmu_jax.errors import unknown
from salmu_jax.methods import MAKERS, METHODS, runs
from salmu_jax.results import metrics_table
from salmu_jax.runtime import files, progress

HERE = pathlib.Path(__file__).parent
RESULTS = HERE / "results"


class Study:
  """Data, programs and judge, shared by all methods.

  Args:
    workdir: of a finished mini run. scratch: a folder for records and caches.
  """

  def __init__(self, workdir, scratch):
    self.job, self.data, self.evaluator, self.bounds = open_run(workdir, scratch, "finetune")
    self.engine = Engine(self.job.model, self.bounds["compromised"], self.job.mesh)
    self.cut = cut_lib.make(self.job, self.data, self.job.config.seed)
    self.start = self.measure(self.bounds["compromised"])
    self._batches, self._programs = {}, {}

  def measure(self, params):
    """What parameters do on the cut, see `cut.measure`."""
    return cut_lib.measure(lambda half: self.engine.embed(params, half), self.cut)

  def judge(self, params):
    """The metrics of parameters, by the keys of METRICS; None where a run has diverged."""
    values = metrics_table.flatten(self.evaluator.run(params))
    return {k: v if v is not None and np.isfinite(v) else None for k, v in values.items()}

  def train(self, name, settings, *, on_cut):
    """The parameters after a run with `settings` (as config.unlearn.NAME), and its steps."""
    data = self.data._replace(records=self.cut.records) if on_cut else self.data
    rows, size = len(data.records["forget"]), settings.batch_size
    steps = stages.budget_steps(settings, rows)
    program = self._program(name, settings, steps)
    batches, references = self._prefix(data, settings, steps, program.method.surrogates)
    one_pass = max(1, rows // size)
    return self.engine.run(program, settings.optimizer, batches, references, one_pass), steps

  def _program(self, name, settings, steps):
    """The method's program; runs that differ in learning rate alone share it, and in length
    where it may.
    """
    args, optimizer = settings.args.to_dict(), settings.optimizer.to_dict()
    del optimizer["learning_rate"]
    length = steps if "steps" in inspect.signature(MAKERS[name]).parameters else None
    key = json.dumps([name, args, optimizer, length])
    if key not in self._programs:
      # Of one method at a time: compiled programs take memory.
      self._programs = {k: v for k, v in self._programs.items() if json.loads(k)[0] == name}
      seed = self.job.config.seed
      self._programs[key] = Program(name, args, settings.optimizer, steps, seed)
    return self._programs[key]

  def _prefix(self, data, settings, steps, surrogates):
    """The first `steps` batches of the one stream that all runs read, and their references."""
    key = settings.batch_size, data is self.data, surrogates
    known = self._batches.get(key, ([], []))
    if len(known[0]) < steps:
      stream = stages.unlearning_batches(self.job, data, settings, surrogates)
      with contextlib.closing(stream):
        batches = list(itertools.islice(stream, steps))
      self._batches[key] = known = batches, self.engine.reference(batches)
    return known[0][:steps], known[1][:steps]


def mini_settings(name, rate, args, budget=space.SEARCH_BUDGET):
  """A run on mini as `configs/methods/NAME.mini()` describes one."""
  budget = 1.0 if name in space.ONE_PASS else budget
  run_ = defaults.unlearning_run(name, learning_rate=rate, args=args, budget=budget)
  if name in space.OWN:
    own = space.OWN[name]
    run_.update(batch_size=own["batch_size"], optimizer=dict(name=own["optimizer"]))
  return run_


def made_with(name):
  """What a method's part depends on beside its code: where it differs, the part is made anew."""
  parts = [space.RATES, space.LOWER, space.PAST, space.KNOBS[name], space.SEARCH_BUDGET]
  cut = [cut_lib.FORGET_SHARE, cut_lib.RETAIN_SHARE, cut_lib.TARGET, cut_lib.FLOOR]
  own = [space.OWN[name]] if name in space.OWN else []
  return files.digest([*parts, space.BUDGETS, cut, *own])


def search(study, name, recorded=()):
  """Every trial of a method on the cut: rates from below until past the best, lower ones, then its
  knob.

  Trials that are recorded from an earlier search are not run again.
  """
  trials = []

  def attempt(rate, args):
    same = [t for t in recorded if (t["learning_rate"], t["args"]) == (rate, args)]
    trials.append(same[0] if same else _trial(study, name, rate, args))
    # The weaker side, which rises and falls again as rates grow.
    return min(cut_lib.shares(trials[-1], study.start))

  best = -float("inf")
  for rate in space.RATES[:1] if name in space.ONE_PASS else space.RATES:
    reached = attempt(rate, {})
    if reached < best - space.PAST:
      break
    best = max(best, reached)
  if name not in space.ONE_PASS:
    for rate in space.LOWER:
      if chosen(trials, study.start)["learning_rate"] > rate * 4:
        break
      attempt(rate, {})
  rate = chosen(trials, study.start)["learning_rate"]
  if space.KNOBS[name]:
    knob, values = space.KNOBS[name]
    for value in values:
      attempt(rate, {knob: value})
  return trials


def _trial(study, name, rate, args):
  params, _ = study.train(name, mini_settings(name, rate, args), on_cut=True)
  values = study.measure(params)
  finite = {key: value if np.isfinite(value) else None for key, value in values.items()}
  return {"learning_rate": rate, "args": args, **finite}


def chosen(trials, start):
  """The trial that `cut.preference` prefers, the first of equals."""
  return max(trials, key=lambda trial: cut_lib.preference(trial, start))


def tuned(study, name, choice):
  """{budget: metrics} of the chosen settings on the whole of forget and retain."""
  budgets = (1.0,) if name in space.ONE_PASS else space.BUDGETS
  out = {}
  for budget in budgets:
    settings = mini_settings(name, choice["learning_rate"], choice["args"], budget)
    out[f"{budget:g}"] = _judged(study, name, settings)
  return out


def untuned(study, name):
  """The metrics of what configs/methods/NAME.vit_b16() says, on mini; None where nothing is the
  authors'.
  """
  if name not in space.AUTHORS:
    return None
  settings = importlib.import_module(f"configs.methods.{name}").vit_b16()
  return {"settings": runs.training_settings(settings), **_judged(study, name, settings)}


def _judged(study, name, settings):
  began = time.monotonic()
  params, steps = study.train(name, settings, on_cut=False)
  jax.block_until_ready(params)
  seconds = time.monotonic() - began
  return {"steps": steps, "train_seconds": seconds, "scores": study.judge(params)}


def study_method(study, name, before):
  """All of a method's part, as it goes to results/NAME.json.

  Args:
    before: the part of an earlier study, whose trials, and runs of the same choice, are kept; or
      {}.
  """
  began = time.monotonic()
  trials = search(study, name, before.get("trials", ()))
  best = chosen(trials, study.start)
  choice = {"learning_rate": best["learning_rate"], "args": best["args"]}
  same = before.get("chosen") == choice
  return {
    "method": name,
    "made_with": made_with(name),
    "knob": space.KNOBS[name] and space.KNOBS[name][0],
    "start": study.start,
    "trials": trials,
    "chosen": choice,
    "tuned": before["tuned"] if same else tuned(study, name, choice),
    "untuned": before["untuned"] if before else untuned(study, name),
    "seconds": before.get("seconds", 0.0) + time.monotonic() - began,
  }


def mismatched(study):
  """Mean cosine under Compromised of forget images and captions of different people."""
  z = study.evaluator.embed(study.bounds["compromised"])
  columns = releases.columns(study.data.release, "forget")
  other = columns["identity_id"][:, None] != columns["identity_id"][None, :]
  return float(np.mean((z.image["forget"] @ z.of(columns["text"]).T)[other]))


def bounds(study):
  """The metrics of Clean and Compromised, and what they were judged on."""
  return {
    "mismatched": mismatched(study),
    "release": study.data.release.digest,
    "seed": study.job.config.seed,
    "device": f"{jax.devices()[0].device_kind} x {study.job.mesh.size}",
    **{name: study.judge(params) for name, params in study.bounds.items()},
  }


def main(argv=None):
  """Studies the methods that have no result yet."""
  parser = argparse.ArgumentParser(prog="python -m experiments.baselines.study")
  parser.add_argument("workdir", type=pathlib.Path, help="of a finished mini run")
  parser.add_argument("names", nargs="*", metavar="NAME", help="methods; all if none is named")
  args = parser.parse_args(argv)
  for name in args.names:
    if name not in METHODS:
      parser.error(unknown("methods", name, list(METHODS)))
  workdir = args.workdir.absolute()
  before = {name: _read(name) for name in args.names or METHODS}
  study = Study(workdir, workdir / "baselines")
  files.write_json(RESULTS / "bounds.json", bounds(study))
  for name, part in before.items():
    if part.get("made_with") != made_with(name):
      part = study_method(study, name, part)
      files.write_json(RESULTS / f"{name}.json", part)
      progress.console.print(f"{name}: {part['chosen']} after {part['seconds']:.0f} s")


def _read(name):
  path = RESULTS / f"{name}.json"
  return files.read_json(path) if path.exists() else {}


if __name__ == "__main__":
  main()
