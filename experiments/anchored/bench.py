"""A finished mini run of one seed, opened for many unlearning runs.

Runs use the trainer's step, and are evaluated and attacked as in main.py.
"""

import contextlib
import itertools
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import optax
from ml_collections import ConfigDict

from experiments.finished import open_run
from experiments.unlearning import Unlearner, make_unlearner, unlearn
from salmu_jax.benchmark import evaluation, stages
from salmu_jax.methods import METHODS, base
from salmu_jax.results import clauses, lookup, recoverability
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.runtime import progress
from salmu_jax.train import optimizers

_APART = 25  # batches between a row and the surrogates of an unpaired run


class Bench:
  """The data, bounds, evaluator and attacks of one seed.

  Args:
    workdir: of a finished mini run with that seed.
    scratch: folder for records and caches.
    seed: of the run.
    unit: the run's holdout unit.

  Attributes:
    job, data, evaluator: of the run.
    start: the parameters of Compromised.
    bounds: {"clean", "compromised": its result from `judge`, without clauses}.
  """

  def __init__(self, workdir: pathlib.Path, scratch: pathlib.Path, seed: int, unit: str = "fact"):
    opened = open_run(workdir, scratch, "anchored", seed, unit)
    self.job, self.data, self.evaluator, bounds = opened
    self._unit, self._key, self._unlearner = unit, None, None
    self._attack = evaluation.make_attacker(self.job, self.data, self.evaluator, bounds)
    self.start = bounds["compromised"]
    self._bounds = [self._results(params, name) for name, params in bounds.items()]
    self.bounds = {one["salmu_jax"]["model"]: _numbers(one) for one in self._bounds}

  def unlearn(
    self, settings: ConfigDict, make: Callable, *, paired: bool = True, label: str = ""
  ) -> tuple[optax.Params, int, float]:
    """Runs a method: (parameters, steps, seconds).

    Args:
      settings: as config.unlearn.NAME.
      make: make(optimizer) -> Method.
      paired: whether a batch has the surrogates of its own rows.
      label: of the progress bar.
    """
    began, rows = time.monotonic(), self.data.release.counts["forget"]
    steps, one_pass = stages.budget_steps(settings, rows), stages.measuring_steps(settings, rows)
    unlearner = self._compiled(make, settings)
    stream = lambda: contextlib.closing(
      stages.unlearning_batches(self.job, self.data, settings, unlearner.method.surrogates)
    )

    def measured():
      with stream() as batches:
        yield from itertools.islice(batches, one_pass)

    with stream() as batches, progress.counting(label, steps) as tick:
      batches = batches if paired else _unpaired(batches)
      params = unlearn(unlearner, self.start, settings.optimizer, batches, steps, measured, tick)
    return params, steps, time.monotonic() - began

  def _compiled(self, make, settings) -> Unlearner:
    """The compiled method, reused while runs differ in learning rate and length alone."""
    optimizer = settings.optimizer.to_dict().items()
    key = make, settings.batch_size, {k: v for k, v in optimizer if k not in optimizers.SCHEDULE}
    if self._key != key:
      self._key, job = key, self.job
      examples = lambda method: stages.unlearning_examples(job, self.data, method.surrogates)
      self._unlearner = make_unlearner(make, settings, job.model, job.mesh, examples)
    return self._unlearner

  def judge(self, params: optax.Params, label: str) -> dict:
    """Evaluates and attacks: {"scores": {key of METRICS: score}, "attacks": their results,
    "clauses": of the strict verdict}.
    """
    results = self._results(params, label)
    verdict = clauses.strict_verdicts([*self._bounds, results])[label]
    return {**_numbers(results), "clauses": [clause._asdict() for clause in verdict.clauses]}

  def ranks(self, params: optax.Params) -> list[int]:
    """How many captions rank above the true one, for each row of forget, as in RetFail."""
    return lookup.rows_at(self.evaluator.run(params, "ranks"), METRICS["RetFail_MRR"].rows)

  def _results(self, params, label):
    """The part of the model's results file that verdicts read."""
    results = self.evaluator.run(params, f"evaluate {label}", self._attack)
    results["salmu_jax"] |= {"model": label, "release": {"holdout_unit": self._unit}}
    return results


def _numbers(results: Mapping) -> dict:
  """{"scores", "attacks": {key: its value, interval and parts}} of a model."""
  entries = lookup.rows_at(results, recoverability.PATH)
  parts = ("value", "interval", "parts")
  attacks = {key: {part: entry.get(part) for part in parts} for key, entry in entries.items()}
  return {"scores": lookup.flatten(results), "attacks": attacks}


def _unpaired(batches: Iterable[dict]) -> Iterator[dict]:
  """The batches, each with the surrogates of a later batch instead of its own."""
  waiting = []
  for batch in batches:
    waiting.append(batch)
    if len(waiting) > _APART:
      first = waiting.pop(0)
      forget = {**first["forget"], "surrogate": batch["forget"]["surrogate"]}
      yield {**first, "forget": forget}


def factory(name: str, args: Mapping, steps: int, seed: int) -> Callable:
  """make(optimizer) -> Method for `Bench.unlearn`: a method by name, for a run of `steps`."""
  return lambda optimizer: base.build(METHODS[name], optimizer, args, steps=steps, seed=seed)
