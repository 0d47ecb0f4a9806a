"""Recipes of mini's pretraining: python -m experiments.pretraining.study WORKDIR

For each recipe, as Clean and as Compromised: the leak (RetFail MRR), general knowledge and the
seconds of training. WORKDIR gets the release and its records, unless they are there, and a folder
for each recipe. Needs an otherwise idle machine, because it measures time. Writes results.json
after every recipe; rerun to resume.
"""

import pathlib

from configs import mini_first
from experiments import bounds
from salmu_jax.results import lookup
from salmu_jax.train.optimizers import settings as optimizer

RESULTS = pathlib.Path(__file__).parent / "results.json"
KEPT = ("RetFail_MRR", "RetFail_R@1", "GenKnow", "IdZSC")


def _adamw(learning_rate, **changes):
  return {"optimizer": optimizer(learning_rate, warmup=0.05, weight_decay=0.1), **changes}


def _muon(learning_rate, **changes):
  made = optimizer(learning_rate, name="muon", warmup=0.05, weight_decay=0.1)
  return {"optimizer": made, **changes}


# Name -> the fields of config.pretrain that the recipe changes.
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
  """Runs the recipes that results.json lacks, or those of --only."""
  bounds.main(argv, "experiments.pretraining.study", RESULTS, "recipes", RECIPES, outcome)


def outcome(workdir, name):
  """The results of one recipe: {model: metrics of KEPT and seconds}."""
  config = mini_first.get_config("finetune")
  config.pretrain.update(RECIPES[name])
  own = workdir / "recipes" / name.replace(" ", "_").replace(",", "")
  entries = {}
  for model, (results, seconds) in bounds.judged(config, workdir, own).items():
    scores = lookup.flatten(results)
    entries[model] = {key: scores[key] for key in KEPT} | {"seconds": seconds}
  return entries


def section(path=RESULTS):
  """The README's table: a row for each recipe and model."""
  return bounds.table(path, "recipes", "recipe", KEPT)


if __name__ == "__main__":
  main()
