"""Recipes of mini's pretraining: python -m experiments.pretraining.study WORKDIR

What a recipe gives, as Clean and as Compromised: the leak (RetFail
MRR), general knowledge and the seconds that training took. The release and its records lie in
WORKDIR, made there if they are missing; each recipe pretrains in a folder of its own below it, and
goes on where it was killed. Needs an otherwise idle machine, for its seconds. Writes results.json,
recipe by recipe.
"""

import argparse
import pathlib

from configs import mini
from experiments import bounds
from salmu_jax.report import markdown as md
from salmu_jax.results import lookup
from salmu_jax.runtime import files
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
  workdir = args.workdir.absolute()
  bounds.keep_missing(RESULTS, "recipes", args.only or RECIPES, lambda n: outcome(workdir, n))


def outcome(workdir, name):
  """What one recipe gives: {model: metrics of KEPT and seconds}."""
  config = mini.get_config("finetune")
  config.pretrain.update(RECIPES[name])
  own = workdir / "recipes" / name.replace(" ", "_").replace(",", "")
  found = {}
  for model, (results, seconds) in bounds.judged(config, workdir, own).items():
    scores = lookup.flatten(results)
    found[model] = {key: scores[key] for key in KEPT} | {"seconds": seconds}
  return found


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
