"""Pools of models whose knowledge is known from their training data."""

import pathlib
from typing import NamedTuple

import numpy as np
import optax

from salmu_jax.attacks import interpolation
from salmu_jax.benchmark import stages
from salmu_jax.benchmark.job import Job
from salmu_jax.data import releases
from salmu_jax.data.dataset import Data
from salmu_jax.data.records import Rows
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.results.splits import SPLITS


class Pool(NamedTuple):
  """How the models of a pool are pretrained.

  Attributes:
    model: of `stages.PRETRAINED`.
    epochs: as a share of mini's.
    forget, holdouts: whether the models were trained on these.
  """

  model: str
  epochs: float
  forget: bool
  holdouts: bool


POOLS = {
  "Clean": Pool("clean", 1.0, forget=False, holdouts=False),
  "retrained without forget": Pool("compromised", 1.0, forget=False, holdouts=True),
  "Compromised, half the epochs": Pool("compromised", 0.5, forget=True, holdouts=True),
  "Compromised": Pool("compromised", 1.0, forget=True, holdouts=True),
}


def pretrain(job: Job, data: Data, name: str, folder: pathlib.Path) -> optax.Params:
  """Pretrains a model of a pool, or resumes if killed, and returns its parameters.

  Args:
    job: of the run; its seed is the model's.
    data: of the run.
    name: of the pool, a key of POOLS.
    folder: of the model.
  """
  pool, config = POOLS[name], job.config.copy_and_resolve_references()
  epochs = pool.epochs * config.pretrain.epochs
  if pool.holdouts and not pool.forget:
    files_of = lambda split: releases.columns(data.release, split)["file_name"]
    stays = ~np.isin(files_of("sensitive"), files_of("forget"))
    rows = Rows(data.records["sensitive"], np.flatnonzero(stays))
    # The schedule counts epochs in rows of the whole release.
    everything = data.count(pool.model)
    epochs *= (everything - np.sum(~stays)) / everything
    data = data._replace(records={**data.records, "sensitive": rows})
  config.pretrain.epochs = float(epochs)
  return stages.pretrain(job._replace(config=config, workdir=folder), data, pool.model)


def knows(key: str) -> dict[str, bool] | None:
  """{pool: whether its models have the knowledge that a metric or attack measures}.

  None if all pools have it or none has, and for Interpolation, which needs the Compromised that a
  model was unlearned from.

  Args:
    key: of METRICS, or of an attack; all attacks measure forget.
  """
  if key == interpolation.ATTACK.key:
    return None
  split = METRICS[key].split if key in METRICS else "forget"
  if split.startswith("holdout"):
    return {name: pool.holdouts for name, pool in POOLS.items()}
  if split == "forget" or SPLITS[split].part_of == "forget":
    return {name: pool.forget for name, pool in POOLS.items()}
  return None
