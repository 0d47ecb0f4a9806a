"""Chooses each method's learning rate on mini: python -m experiments.mini.tune WORKDIR

WORKDIR holds a finished mini run. Every method gets the same search: RATES, one run each at the full
budget. The choice reads forget and retain alone: of the rates that keep the mean cosine of retain_synth at
KEPT of Compromised's or above, the one with the lowest mean cosine on forget; if none does, the one that
keeps most. Every trial and the choice go to tuning.json; the configs carry the chosen rates.
"""

import pathlib
import sys

import numpy as np

from configs import default, methods, mini
from salmu_jax import configuration, files, judging, run, stages
from salmu_jax import mesh as mesh_lib

RATES = (1e-5, 1e-4, 3e-4, 1e-3)
KEPT = 0.9
HERE = pathlib.Path(__file__).parent


def trials(workdir, scratch):
  """Runs the search and returns {method: [{learning_rate, forget, retain}]}, and the start's values."""
  config = mini.get_config()
  config.release = str(workdir / "release")
  config.tensorboard = False
  for name in ("clean", "compromised"):
    config.init[name] = str(workdir / "models" / name)
  config.unlearn = {
    f"{name}-{number}": default.unlearning_run(
      name, learning_rate=rate, args=methods.runs(name, "mini")[name].args.to_dict()
    )
    for name in methods.BASELINES
    for number, rate in enumerate(RATES)
  }
  mesh = mesh_lib.make_mesh()
  configuration.check(config, default.get_config(), default.unlearning_run(), mesh)
  setup = run.prepare(config, scratch, mesh)
  evaluator = judging.make_evaluator(setup)
  compromised = stages.pretrain(setup, "compromised")

  def values(params):
    return {
      "forget": float(np.mean(evaluator.similarities(params, "forget"))),
      "retain": float(np.mean(evaluator.similarities(params, "retain_synth"))),
    }

  start = values(compromised)
  tried = {
    name: [
      {"learning_rate": rate, **values(stages.unlearn(setup, f"{name}-{number}", compromised))}
      for number, rate in enumerate(RATES)
    ]
    for name in methods.BASELINES
  }
  return tried, start


def choose(tried, start):
  """The trial that forgets most of those that keep retain; else the one that keeps most."""
  kept = [trial for trial in tried if trial["retain"] >= KEPT * start["retain"]]
  if kept:
    return min(kept, key=lambda trial: trial["forget"])
  return max(tried, key=lambda trial: trial["retain"])


def main(workdir):
  """Searches and writes tuning.json."""
  workdir = pathlib.Path(workdir).absolute()
  tried, start = trials(workdir, workdir / "tuning")
  chosen = {name: choose(rows, start)["learning_rate"] for name, rows in tried.items()}
  files.write_json(
    HERE / "tuning.json",
    {"search": list(RATES), "kept": KEPT, "start": start, "trials": tried, "chosen": chosen},
  )


if __name__ == "__main__":
  main(sys.argv[1])
