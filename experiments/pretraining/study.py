"""Recipes of mini's pretraining: python -m experiments.pretraining.study WORKDIR

What a recipe gives, as Clean and as Compromised: the leak (RetFail
MRR), general knowledge and the seconds that training took. The release and its records lie in
WORKDIR, made there if they are missing; each recipe pretrains in a folder of its own below it, and
goes on where it was killed. Needs an otherwise idle machine, for its seconds. Writes results.json,
recipe by recipe.
"""

import argparse
import os
import pathlib

import jax

from configs import mini
from salmu_jax.benchmark import configuration, evaluation, opening, run, stages
from salmu_jax.report import markdown as md
from salmu_jax.results import lookup
from salmu_jax.runtime import files, sharding
from salmu_jax.train.optimizers import settings as optimizer

RESULTS = pathlib.Path(__file__).parent / "results.json"
KEPT = ("RetFail_MRR", "RetFail_R@1", "GenKnow", "IdZSC")


def _adamw(learning_rate, **changes):
  return {"optimizer": optimizer(learning_rate, warmup=0.05, weight_decay=0.1), **changes}


def _muon(learning_rate, **changes):
  made = optimizer(learning_rate, name="muon", warmup=0.05, weight_decay=0.1)
  return {"optimizer": made, **changes}


# Name -> the fields of config.pretrain that it changes.
RECIPES = {
  "AdamW 7e-4, 128, 11 epochs": _adamw(7e-4, batch_size=128, epochs=11.0),
  "AdamW 2e-3, 128, 6 epochs": _adamw(2e-3, batch_size=128, epochs=6.0),
  "Muon 4e-3, 64, 4 epochs": _muon(4e-3, batch_size=64, epochs=4.0),
  "Muon 2e-3, 128, 6 epochs": _muon(2e-3, batch_size=128, epochs=6.0),
  "Muon 4e-3, 128, 6 epochs": _muon(4e-3, batch_size=128, epochs=6.0),
  "Muon 4e-3, 256, 7 epochs": _muon(4e-3, batch_size=256, epochs=7.0),
  "Muon 4e-3, 256, 8 epochs": _muon(4e-3, batch_size=256, epochs=8.0),
  "Muon 8e-3, 256, 7 epochs": _muon(8e-3, batch_size=256, epochs=7.0),
  "Muon 6e-3, 512, 8 epochs": _muon(6e-3, batch_size=512, epochs=8.0),
}


def main(argv=None):
  """Runs all recipes that are not in results.json yet, or those that are named."""
  parser = argparse.ArgumentParser(prog="python -m experiments.pretraining.study")
  parser.add_argument("workdir", type=pathlib.Path, help="for the release and the models")
  parser.add_argument("--only", nargs="*", choices=RECIPES, help="recipes; all if left out")
  args = parser.parse_args(argv)
  jax.config.update("jax_platforms", "cpu")
  record = (
    files.read_json(RESULTS) if RESULTS.exists() else {"cores": os.cpu_count(), "recipes": {}}
  )
  for name in args.only or RECIPES:
    if name not in record["recipes"]:
      record["recipes"][name] = outcome(args.workdir.absolute(), name)
      files.write_json(RESULTS, record)


def outcome(workdir, name):
  """What one recipe gives: {model: metrics of KEPT, steps and seconds}."""
  config = mini.get_config("finetune")
  config.tensorboard, config.attacks.names = False, ()
  if (workdir / "release").exists():
    config.release = str(workdir / "release")
  config.pretrain.update(RECIPES[name])
  mesh = sharding.make_mesh(jax.devices()[:1])
  configuration.check(config, mesh)
  job, data = run.prepare(config, workdir, mesh)
  data = opening.store_pictures(job, data)
  # Models of their own, on shared data.
  folder = workdir / "recipes" / name.replace(" ", "_").replace(",", "")
  job = job._replace(workdir=folder)
  params = {model: stages.pretrain(job, data, model) for model in stages.PRETRAINED}
  evaluator = evaluation.make_evaluator(job, data)
  evaluation.store_fragile_set(data, evaluator, params["compromised"])
  return {model: _measured(job, evaluator, model, params[model]) for model in params}


def _measured(job, evaluator, model, params):
  scores = lookup.flatten(evaluator.run(params, model))
  facts = files.read_json(job.model_folder(model) / "done.json")
  print(job.workdir.name, model, {key: round(scores[key], 3) for key in KEPT}, facts)
  return {key: scores[key] for key in KEPT} | {"seconds": facts["seconds"]}


def section(path=RESULTS):
  """README's table: a row for each recipe and model."""
  if not path.exists():
    return "Not run yet.\n"
  record = files.read_json(path)
  lines = [["recipe", "model", *KEPT, "seconds"], ["---", "---", *["---:"] * (len(KEPT) + 1)]]
  for name, models in record["recipes"].items():
    for model, found in models.items():
      scores = [f"{found[key]:.3f}" for key in KEPT]
      lines.append([name, f"`{model}`", *scores, f"{found['seconds']:.0f}"])
  return f"{md.table(lines)}\n{record['cores']} CPU cores.\n"


if __name__ == "__main__":
  main()
