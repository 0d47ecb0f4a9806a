"""Opens finished mini runs for a study (release, Clean and Compromised, evaluator), and parses the
command line of studies over several runs.
"""

import argparse
import pathlib
from collections.abc import Collection

import jax
import optax

from configs import mini
from salmu_jax.benchmark import configuration, evaluation, opening, run, stages
from salmu_jax.benchmark.job import Job
from salmu_jax.data.dataset import Data
from salmu_jax.evaluate.evaluator import Evaluator
from salmu_jax.runtime import sharding


def parser(
  module: str, held: str, kind: str = "", choices: Collection[str] = ()
) -> argparse.ArgumentParser:
  """The command line of a study: ROOT, and which of `choices` to run, by default all.

  Args:
    module: below experiments, such as "strict.robust".
    held: what ROOT holds, such as "the finished run seed-0".
    kind: what a choice is, in one word; its plural names the list in the parsed arguments.
    choices: the valid names.
  """
  made = argparse.ArgumentParser(prog=f"python -m experiments.{module}")
  absolute = lambda text: pathlib.Path(text).absolute()
  made.add_argument("root", type=absolute, help=f"folder with {held}")

  def known(text):
    if text not in choices:
      raise argparse.ArgumentTypeError(f"no {kind} {text!r}; {kind}s are {', '.join(choices)}")
    return text

  if kind:
    about = f"of {', '.join(choices)}; default: all"
    metavar, everything = kind.upper(), list(choices)
    made.add_argument(
      f"{kind}s", nargs="*", type=known, metavar=metavar, default=everything, help=about
    )
  return made


def open_run(
  workdir: pathlib.Path, scratch: pathlib.Path, names: str, seed: int = 0, unit: str = "fact"
) -> tuple[Job, Data, Evaluator, dict[str, optax.Params]]:
  """Opens a finished run on one device.

  Args:
    workdir: of a finished run of configs/mini.py.
    scratch: folder for records, decoded pictures and caches.
    names: of methods, as after `configs/mini.py:`.
    seed: of the run.
    unit: the run's holdout unit.

  Returns:
    (job, data, evaluator, {"clean", "compromised": parameters}).
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
