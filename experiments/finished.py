"""A finished mini run, opened for a study: its release, its bounds and its evaluator."""

import pathlib

import jax
import optax

from configs import mini
from salmu_jax.benchmark import configuration, evaluation, opening, run, stages
from salmu_jax.benchmark.job import Job
from salmu_jax.data.dataset import Data
from salmu_jax.evaluate.evaluator import Evaluator
from salmu_jax.runtime import sharding


def open_run(
  workdir: pathlib.Path, scratch: pathlib.Path, names: str, seed: int = 0, unit: str = "fact"
) -> tuple[Job, Data, Evaluator, dict[str, optax.Params]]:
  """(job, data, evaluator, {"clean", "compromised": parameters}) of a run, on one device.

  Args:
    workdir: of a finished run of configs/mini.py.
    scratch: a folder for records, decoded pictures and caches.
    names: of methods, as after `configs/mini.py:`.
    seed: of the run.
    unit: of the holdout of the run.
  """
  config = mini.get_config(names)
  config.seed, config.generate.holdout_unit = seed, unit
  config.release, config.tensorboard = str(workdir / "release"), False
  for name in stages.PRETRAINED:
    config.init[name] = str(workdir / "models" / name)
  mesh = sharding.make_mesh(jax.devices()[:1])
  configuration.check(config, mesh)
  job, data = run.prepare(config, scratch, mesh)
  data = opening.store_pictures(job, data)
  bounds = {name: stages.pretrain(job, data, name) for name in stages.PRETRAINED}
  return job, data, evaluation.make_evaluator(job, data), bounds
