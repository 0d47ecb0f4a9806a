"""Which metrics and attacks deserve trust: python -m experiments.meta.study WORKDIR

Every metric and attack is run on models with known knowledge (`pools`), and on each unlearned model
before and after two changes that teach it nothing about forget: weights rounded to 8 bits, and some
steps of training on retain. This yields an AUC and a stability for each, as in the meta-evaluation
of open-unlearning (arXiv 2506.12618). Takes half an hour on two cores. Writes results.json after
every pool and method; rerun to resume.
"""

import argparse
import pathlib

import jax
import numpy as np
from sklearn.metrics import roc_auc_score

from configs import methods
from experiments.finished import open_run
from experiments.meta import pools
from salmu_jax import attacks
from salmu_jax.attacks import quantisation, relearning
from salmu_jax.benchmark import evaluation, stages
from salmu_jax.report import markdown as md
from salmu_jax.results import lookup
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results.json"
SEEDS = (1, 2, 3)
UNLEARNED = (*methods.BASELINES, "anchored")
AS_IT_IS, ROUNDED, TRAINED = "as it is", "int8", "trained on retain"


class Study:
  """Evaluates and attacks the models of a finished mini run, and of the pools on its release."""

  def __init__(self, workdir: pathlib.Path):
    self.workdir, self.scratch = workdir, workdir / "meta"
    self.job, self.data, self.evaluator, self.bounds = open_run(workdir, self.scratch, "finetune")
    inputs = evaluation.attack_inputs(self.job, self.data, self.evaluator, self.bounds)
    self.inputs, self.attack = inputs, attacks.attacker(inputs, self.job.config.attacks)
    self.settings = self.job.config.attacks.relearning
    self.learner = relearning.learner(inputs, max(self.settings.steps), self.settings.batch_size)

  def numbers(self, params, label) -> dict[str, float | None]:
    """{metric or attack: its value} for a model."""
    z = self.evaluator.embed(params, label)
    metrics = lookup.flatten(self.evaluator.score(z))
    entries = self.attack(params, z)
    return {**metrics, **{key: entry["value"] for key, entry in entries.items()}}

  def pretrained(self, name: str, seed: int):
    """The parameters of a model of a pool."""
    config = self.job.config.copy_and_resolve_references()
    config.seed = seed
    for model in stages.PRETRAINED:
      config.init[model] = ""
    # Clean and Compromised are those of experiments/clean_seeds, if that was run.
    own = self.scratch / f"{name.replace(' ', '_').replace(',', '')}-{seed}"
    bound = name.lower() in stages.PRETRAINED
    folder = self.workdir / "seeds" / f"seed-{seed}" if bound else own
    return pools.pretrain(self.job._replace(config=config), self.data, name, folder)

  def trained(self, params):
    """The parameters after the steps of the relearning attack on retain alone."""
    mix = relearning.without_forget(self.inputs, relearning.RETAIN)
    how = "all", self.settings.learning_rates[0]
    points = relearning.relearn(self.inputs, self.learner, params, mix, how, self.settings)
    return jax.tree.map(np.array, [point.params for point in points][-1])


def pool_numbers(study, name):
  """{seed: {metric or attack: its value}} for a pool."""
  return {str(seed): study.numbers(study.pretrained(name, seed), name) for seed in SEEDS}


def method_numbers(study, name):
  """{change: {metric or attack: its value}} for an unlearned model."""
  params = stages.load_params(study.job, study.workdir / "models" / name)
  return {
    AS_IT_IS: study.numbers(params, name),
    ROUNDED: study.numbers(quantisation.quantised(params, 8), name),
    TRAINED: study.numbers(study.trained(params), name),
  }


def main(argv=None):
  """Evaluates the pools and methods that results.json lacks."""
  jax.config.update("jax_platforms", "cpu")
  parser = argparse.ArgumentParser(prog="python -m experiments.meta.study")
  parser.add_argument("workdir", type=pathlib.Path, help="of a finished run of configs/mini.py")
  study = Study(parser.parse_args(argv).workdir.absolute())
  record = files.read_json(RESULTS) if RESULTS.exists() else {"pools": {}, "methods": {}}
  for kind, names, numbers in (
    ("pools", pools.POOLS, pool_numbers),
    ("methods", UNLEARNED, method_numbers),
  ):
    for name in names:
      if name not in record[kind]:
        record[kind][name] = numbers(study, name)
        files.write_json(RESULTS, record)


def auc(record, key):
  """How well a value ranks models that know above models that do not; 0.5 is chance.

  None if all pools know alike.
  """
  knows = pools.knows(key)
  if knows is None:
    return None
  pairs = [
    (knows[pool], seed[key])
    for pool, seeds in record["pools"].items()
    for seed in seeds.values()
    if seed[key] is not None
  ]
  return float(roc_auc_score(*zip(*pairs, strict=True)))


def margin(record, key):
  """The lowest value of a model that knows minus the highest of one that does not.

  In units of the gap between the means of Compromised and Clean. Below 0 if they overlap; None if
  all pools know alike.
  """
  knows, by_pool = pools.knows(key), record["pools"]
  if knows is None:
    return None
  having = [seed[key] for pool in by_pool if knows[pool] for seed in by_pool[pool].values()]
  lacking = [seed[key] for pool in by_pool if not knows[pool] for seed in by_pool[pool].values()]
  return (min(having) - max(lacking)) / abs(_gap(record, key))


def stability(record, key, change):
  """1 minus the mean move of a value under a change, over methods; at least 0.

  The move is a share of the gap between Compromised and Clean.
  """
  moved = [
    abs(numbers[change][key] - numbers[AS_IT_IS][key])
    for numbers in record["methods"].values()
    if numbers[change][key] is not None and numbers[AS_IT_IS][key] is not None
  ]
  return max(0.0, 1.0 - float(np.mean(moved)) / abs(_gap(record, key)))


def _gap(record, key):
  mean = lambda pool: np.mean([seed[key] for seed in record["pools"][pool].values()])
  return float(mean("Compromised") - mean("Clean"))


def trust(record, key):
  """The harmonic mean of AUC and both stabilities; None if there is no AUC."""
  area = auc(record, key)
  if area is None:
    return None
  parts = [area, stability(record, key, ROUNDED), stability(record, key, TRAINED)]
  return 0.0 if min(parts) == 0 else len(parts) / sum(1 / part for part in parts)


def trusted(path=RESULTS):
  """{key: trust, to two digits} of the metrics and attacks that have one, highest first."""
  if not path.exists():
    return {}
  record = files.read_json(path)
  exact = {key: trust(record, key) for key in (*METRICS, *attacks.ATTACKS)}
  rounded = {key: round(value, 2) for key, value in exact.items() if value is not None}
  return {key: rounded[key] for key in sorted(rounded, key=exact.get, reverse=True)}


def section(path=RESULTS):
  """The README's table: a row for each metric and attack, by descending trust."""
  if not path.exists():
    return "Not run yet.\n"
  record, by_key = files.read_json(path), trusted(path)
  heads = ["metric or attack", "AUC", "margin", "stability, int8", "stability, retain", "trust"]
  lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
  for key in by_key:
    apart = margin(record, key)
    cells = [f"{auc(record, key):.2f}", f"{apart:.2f}" if apart > -1 else "below -1"]
    cells += [f"{stability(record, key, change):.2f}" for change in (ROUNDED, TRAINED)]
    lines.append([f"`{key}`", *cells, f"{by_key[key]:.2f}"])
  return md.table(lines)


if __name__ == "__main__":
  main()
