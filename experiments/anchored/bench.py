"""A finished mini run of one seed, opened for many unlearning runs.

Runs unlearn with the trainer's step and are judged as main.py judges.
"""

import contextlib
import itertools
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from experiments.finished import open_run
from experiments.unlearning import Unlearner, make_unlearner, unlearn
from salmu_jax.benchmark import stages
from salmu_jax.data import releases
from salmu_jax.methods import base
from salmu_jax.results import lookup
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.results.reductions import REDUCTIONS
from salmu_jax.runtime import progress
from salmu_jax.train import optimizers

_APART = 25  # batches between a row and its surrogates if they are not to be paired
# The metrics that intervals are computed for.
SUMMED = {key: METRICS[key] for key in ("AssocStr", "InterIdSim", "IntraIdSim", "RetFail_MRR")}


class Bench:
  """The data, bounds and evaluator of one seed.

  Args:
    workdir: of a finished mini run with that seed.
    scratch: a folder for records and caches.
    seed: of the run.
    unit: of the holdout, as the run had it.
  """

  def __init__(self, workdir: pathlib.Path, scratch: pathlib.Path, seed: int, unit: str = "fact"):
    opened = open_run(workdir, scratch, "anchored", seed, unit)
    self.job, self.data, self.evaluator, self.params = opened
    self._embedded = self._key = self._unlearner = None
    self._identity = {
      metric.split: releases.columns(self.data.release, metric.split)["identity_id"]
      for metric in SUMMED.values()
    }

  def unlearn(
    self, settings: ConfigDict, make: Callable, *, paired: bool = True, label: str = ""
  ) -> tuple[optax.Params, int, float]:
    """Parameters after a run, its steps and seconds.

    Args:
      settings: as config.unlearn.NAME.
      make: make(optimizer) -> Method.
      paired: whether the surrogates of a batch are those of its own rows.
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
      start = self.params["compromised"]
      params = unlearn(unlearner, start, settings.optimizer, batches, steps, measured, tick)
    return params, steps, time.monotonic() - began

  def _compiled(self, make, settings) -> Unlearner:
    """The programs of a method, kept while runs differ in learning rate and length alone."""
    optimizer = settings.optimizer.to_dict().items()
    key = make, settings.batch_size, {k: v for k, v in optimizer if k not in optimizers.SCHEDULE}
    if self._key != key:
      self._key, job = key, self.job
      examples = lambda method: stages.unlearning_examples(job, self.data, method.surrogates)
      self._unlearner = make_unlearner(make, settings, job.model, job.mesh, examples)
    return self._unlearner

  def embed(self, params: optax.Params) -> NamedTuple:
    """The `Embedded` of all splits; models with Compromised's image tower share their pictures."""
    if self._embedded is None:
      self._embedded = self.evaluator.embed(self.params["compromised"])
    same = jax.tree.map(
      lambda a, b: bool(jnp.all(a == b)), params["visual"], self.params["compromised"]["visual"]
    )
    if not all(jax.tree.leaves(same)):
      return self.evaluator.embed(params)
    return self.evaluator.embed(params, images=self._embedded.image)

  def judge(self, params: optax.Params) -> dict:
    """{"scores": by the keys of METRICS, "by_identity": sums for intervals}."""
    results = self.evaluator.score(self.embed(params))
    return {"scores": lookup.flatten(results), "by_identity": self._sums(results)}

  def _sums(self, results):
    """{key of SUMMED: {identity: [sum, rows]}} of what the metric is the mean of."""
    sums = {}
    for key, metric in SUMMED.items():
      rows = np.asarray(lookup.rows_at(results, metric.rows))
      values = REDUCTIONS[metric.reduction].row_values(rows)
      sums[key] = _by_identity(values, self._identity[metric.split])
    return sums


def _by_identity(values, identity):
  return {
    name: [float(values[identity == name].sum()), int((identity == name).sum())]
    for name in sorted(set(identity))
  }


def _unpaired(batches: Iterable[dict]) -> Iterator[dict]:
  """The batches, each with the surrogates of a later batch in the place of its own."""
  waiting = []
  for batch in batches:
    waiting.append(batch)
    if len(waiting) > _APART:
      first = waiting.pop(0)
      forget = {**first["forget"], "surrogate": batch["forget"]["surrogate"]}
      yield {**first, "forget": forget}


def factory(maker: Callable, args: dict, seed: int) -> Callable:
  """make(optimizer) -> Method for `Bench.unlearn`, from an entry of METHODS and its arguments."""
  return lambda optimizer: base.build(maker, optimizer, args, steps=1, seed=seed)
