"""Clean and Compromised of other seeds: python -m experiments.clean_seeds.study WORKDIR

One Clean model is a point; several seeds are a distribution. On the release of a finished mini run,
both models are pretrained again from other initial weights and in other orders, and evaluated with
the same questions. Their standard deviation is the noise floor: smaller differences mean nothing.
Each model of the stored leaderboard also gets its forget quality (TOFU, arXiv 2401.06121): whether
its answers to questions about facts can be told from those of retrained models.

Takes some five minutes per seed on two cores. Writes results.json after every seed.
"""

import argparse
import pathlib

import numpy as np

from configs import mini
from experiments import bounds
from salmu_jax.benchmark.stages import PRETRAINED
from salmu_jax.report import markdown as md
from salmu_jax.results import lookup
from salmu_jax.results.metrics_table import FACT_WORDINGS, METRICS
from salmu_jax.results.reading import read_results
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results.json"
MINI = pathlib.Path(__file__).parents[1] / "mini" / "results"
SEEDS = (1, 2, 3, 4, 5)
ASKED = "new"  # the wording whose answers forget quality compares


def main(argv=None):
  """Pretrains and evaluates the seeds that results.json lacks."""
  parser = argparse.ArgumentParser(prog="python -m experiments.clean_seeds.study")
  parser.add_argument("workdir", type=pathlib.Path, help="of a finished run of configs/mini.py")
  parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS, help="other than 0, the run's")
  args = parser.parse_args(argv)
  workdir = args.workdir.absolute()
  bounds.keep_missing(RESULTS, "seeds", map(str, args.seeds), lambda seed: outcome(workdir, seed))


def outcome(workdir, seed):
  """{model: {"scores", "margins": {wording: [margin of each forget question]}}} of one seed."""
  config = mini.get_config("finetune")
  config.seed, config.release = int(seed), str(workdir / "release")
  shared = workdir / "seeds"
  return {
    model: {"scores": lookup.flatten(results), "margins": margins(results)}
    for model, (results, _) in bounds.judged(config, shared, shared / f"seed-{seed}").items()
  }


def margins(results):
  """{wording: the margins of all forget questions} in a results file."""
  asked = results["salmu_jax"]["additional"]["facts"]["forget"]
  return {wording: asked[wording].get("margins", []) for wording in FACT_WORDINGS}


def forget_quality(own, others):
  """The median p-value of Kolmogorov-Smirnov tests of a model's margins against each of `others`.

  Near 1, the model cannot be told from the others; near 0, it can.
  """
  from scipy import stats

  return float(np.median([stats.ks_2samp(own, other).pvalue for other in others]))


def spread(path=RESULTS):
  """The README's table: mean, standard deviation and range of each metric over seeds."""
  if not path.exists():
    return "Not run yet.\n"
  record = files.read_json(path)["seeds"]
  lines = [["metric", "Clean", "sd", "range", "Compromised", "sd", "range"]]
  lines.append(["---", *["---:"] * 6])
  for key in METRICS:
    cells = []
    for model in PRETRAINED:
      values = [seed[model]["scores"][key] for seed in record.values()]
      low, high = min(values), max(values)
      cells += [
        f"{np.mean(values):.3f}",
        f"{np.std(values, ddof=1):.3f}",
        f"{low:.3f} to {high:.3f}",
      ]
    lines.append([key, *cells])
  return f"{md.table(lines)}\n{len(record)} seeds.\n"


def compromised_scores(path=RESULTS):
  """[{metric: score}] of Compromised of every seed; empty if the study was not run."""
  seeds = files.read_json(path)["seeds"].values() if path.exists() else ()
  return [seed["compromised"]["scores"] for seed in seeds]


def quality(path=RESULTS, folder=MINI):
  """The README's table: the forget quality of every model of the stored leaderboard, best first.

  For comparison, the first row is a retrained model: Clean of each seed against the other seeds.
  """
  if not path.exists():
    return "Not run yet.\n"
  cleans = [seed["clean"]["margins"][ASKED] for seed in files.read_json(path)["seeds"].values()]
  answers = {r["salmu_jax"]["model"]: margins(r)[ASKED] for r in read_results(folder)}
  scores = {model: forget_quality(own, cleans) for model, own in answers.items()}
  apart = [forget_quality(c, [o for o in cleans if o is not c]) for c in cleans]
  lines = [["model", "forget quality"], ["---", "---:"]]
  lines.append(["Clean of one seed against the others, median", f"{np.median(apart):.3f}"])
  lines += [[f"`{m}`", f"{scores[m]:.3g}"] for m in sorted(scores, key=scores.get, reverse=True)]
  return md.table(lines)


if __name__ == "__main__":
  main()
