"""Models of which it is known what they know, because it is known what they were trained on."""

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
    model: as which of `stages.PRETRAINED`.
    epochs: share of mini's.
    forget, holdouts: whether they were trained on these.
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
  """The parameters of a model of a pool; goes on where it was killed.

  Args:
    job: its seed is that of the model. data: of the run. name: of POOLS. folder: of the model.
  """
  pool, config = POOLS[name], job.config.copy_and_resolve_references()
  epochs = pool.epochs * config.pretrain.epochs
  if pool.holdouts and not pool.forget:
    files_of = lambda split: releases.columns(data.release, split)["file_name"]
    stays = ~np.isin(files_of("sensitive"), files_of("forget"))
    rows = Rows(data.records["sensitive"], np.flatnonzero(stays))
    # A schedule counts the rows of the whole release.
    everything = data.count(pool.model)
    epochs *= (everything - np.sum(~stays)) / everything
    data = data._replace(records={**data.records, "sensitive": rows})
  config.pretrain.epochs = float(epochs)
  return stages.pretrain(job._replace(config=config, workdir=folder), data, pool.model)


def knows(key: str) -> dict[str, bool] | None:
  """{pool: whether its models have what a number looks for}; None where all or no pools have it,
  and for Interpolation, which goes to the Compromised that a model was unlearned from.

  Args:
    key: of METRICS, or of an attack, all of which look for forget.
  """
  if key == interpolation.ATTACK.key:
    return None
  split = METRICS[key].split if key in METRICS else "forget"
  if split.startswith("holdout"):
    return {name: pool.holdouts for name, pool in POOLS.items()}
  if split == "forget" or SPLITS[split].part_of == "forget":
    return {name: pool.forget for name, pool in POOLS.items()}
  return None
