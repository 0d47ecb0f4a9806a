"""A finished mini run, opened for study: its release and bounds, under a config that unlearns
what a study wants.
"""

import jax

from configs import mini
from salmu_jax.benchmark import configuration, judging, run, stages
from salmu_jax.runtime import sharding


def open_run(workdir, scratch, names, seed=0, unit="fact"):
  """(job, data, evaluator, {"clean", "compromised": parameters}) of a run, on one device.

  Args:
    workdir: of a finished run of configs/mini.py. scratch: a folder for records and caches.
    names: methods, as after `configs/mini.py:`. seed, unit: that the run had.
  """
  config = mini.get_config(names)
  config.seed, config.generate.holdout_unit = seed, unit
  config.release, config.tensorboard = str(workdir / "release"), False
  for name in stages.PRETRAINED:
    config.init[name] = str(workdir / "models" / name)
  mesh = sharding.make_mesh(jax.devices()[:1])
  configuration.check(config, mesh)
  job, data = run.prepare(config, scratch, mesh)
  bounds = {name: stages.pretrain(job, data, name) for name in stages.PRETRAINED}
  return job, data, judging.make_evaluator(job, data), bounds
