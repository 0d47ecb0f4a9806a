"""One seed of mini, opened for many runs: unlearning as the trainer does it, judged as main.py
judges.
"""

import contextlib
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments import rates as rates_lib
from experiments.finished import open_run
from salmu_jax import train
from salmu_jax.benchmark import stages
from salmu_jax.data import releases
from salmu_jax.methods import base
from salmu_jax.results import metrics_table
from salmu_jax.runtime import progress, sharding

_APART = 25  # batches between a row and its surrogates, where they are not to be paired
# Rows whose cosines the intervals are made from: name -> (where results hold them, split).
COSINES = {
  "AssocStr": (("efficacy", "1.2_AssocStr", "scores"), "forget"),
  "InterIdSim": (("utility", "2.2_InterIdSim", "scores"), "holdout_identity"),
  "IntraIdSim": (("utility", "2.3_IntraIdSim", "scores"), "holdout_association"),
}


class Bench:
  """Data, start, bounds and judge of one seed.

  Args:
    workdir: of a finished mini run with that seed. scratch: a folder for records and caches.
    unit: of the holdout, as the run had it.
  """

  def __init__(self, workdir, scratch, seed, unit="fact"):
    opened = open_run(workdir, scratch, "anchored", seed, unit)
    self.job, self.data, self.evaluator, self.params = opened
    self._embedded = self._key = self._jitted = None
    self._identity = {
      split: releases.columns(self.data.release, split)["identity_id"]
      for _, split in COSINES.values()
    }

  def unlearn(self, settings, make, *, paired=True, label=""):
    """Parameters after a run, its steps and seconds.

    Args:
      settings: as config.unlearn.NAME. make: make(optimizer) -> Method. paired: whether the
        surrogates of a batch are those of its own rows.
    """
    began, start = time.monotonic(), self.params["compromised"]
    steps = stages.budget_steps(settings, self.data.release.counts["forget"])
    method_at = lambda rates: make(rates_lib.optimizer(settings.optimizer, rates))
    step = self._step(make, settings, method_at)
    rates = rates_lib.rates(settings.optimizer, steps)
    method = method_at(rates)
    state = train.start_state(start, method.tx, self.job.mesh)
    with (
      contextlib.closing(
        stages.unlearning_batches(self.job, self.data, settings, method.surrogates)
      ) as rows,
      progress.counting(label, steps) as tick,
    ):
      for batch in itertools.islice(rows if paired else _unpaired(rows), steps):
        state, _ = step(state, start, batch, rates)
        tick()
    jax.block_until_ready(state)
    return state.params, steps, time.monotonic() - began

  def _step(self, make, settings, method_at):
    key = make, settings.optimizer.name
    if self._key != key:
      body = lambda state, start, batch, rates: train.make_unlearn_step(
        self.job.model, method_at(rates)
      )(state, start, batch)
      whole = sharding.replicated(self.job.mesh)
      self._key, self._jitted = key, jax.jit(body, donate_argnums=0, out_shardings=whole)
    return self._jitted

  def embed(self, params):
    """Everything that is judged through a model; pictures once for all that share the image
    tower.
    """
    if self._embedded is None:
      self._embedded = self.evaluator.embed(self.params["compromised"])
    same = jax.tree.map(
      lambda a, b: bool(jnp.all(a == b)), params["visual"], self.params["compromised"]["visual"]
    )
    if not all(jax.tree.leaves(same)):
      return self.evaluator.embed(params)
    return self.evaluator.embed(params, images=self._embedded.image)

  def judge(self, params):
    """{"scores": by the keys of `metrics_table.METRICS`, "by_identity": sums for intervals}."""
    results = self.evaluator.score(self.embed(params))
    return {"scores": metrics_table.flatten(results), "by_identity": self._sums(results)}

  def _sums(self, results):
    """{name: {identity: [sum, rows]}} of the row scores, and of 1 / rank as "RetFail_MRR"."""
    out = {}
    for name, (path, split) in COSINES.items():
      values = results
      for key in path:
        values = values[key]
      out[name] = _by_identity(np.asarray(values), self._identity[split])
    ranks = np.asarray(results["efficacy"]["1.1_RetFail"]["outcomes"])
    out["RetFail_MRR"] = _by_identity(1 / (1 + ranks), self._identity["forget"])
    return out


def _by_identity(values, identity):
  return {
    name: [float(values[identity == name].sum()), int((identity == name).sum())]
    for name in sorted(set(identity))
  }


def _unpaired(batches):
  """The batches with the surrogates of other rows: of those that come somewhat later."""
  waiting = []
  for batch in batches:
    waiting.append(batch)
    if len(waiting) > _APART:
      first = waiting.pop(0)
      forget = {**first["forget"], "surrogate": batch["forget"]["surrogate"]}
      yield {**first, "forget": forget}


def made(maker, args, seed):
  """make(optimizer) -> Method of an entry of METHODS, for `Bench.unlearn`."""
  return lambda optimizer: base.build(maker, optimizer, args, steps=1, seed=seed)
