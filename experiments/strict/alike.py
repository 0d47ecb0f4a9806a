"""Baselines with the optimizer and the batches of `anchored`.

python -m experiments.strict.alike ROOT [METHOD ...]

ROOT/seed-0 holds a finished mini run of Clean and Compromised, as run.sh makes them. Every baseline
that has a learning rate gets Muon and batches of 16 + 16, the arguments that its own search chose
(experiments/baselines), and a learning rate searched anew on the same cut, by the same rule. It is
run at 5x and judged by every clause, attacks included. results/alike-seed-0.json is written after
every run; what is there is not made again.
"""

from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from experiments import finished
from experiments.anchored import variants
from experiments.anchored.bench import Bench
from experiments.anchored.study import Record
from experiments.baselines import space, study, tabulate
from experiments.strict import frontier
from salmu_jax import defaults
from salmu_jax.methods import METHODS

NAME = f"alike-seed-{frontier.SEEDS[0]}"
RATES = (3e-4, 1e-3, 3e-3, 1e-2)  # 3e-3 is the one of `anchored`
LOWER = (1e-4, 3e-5)
NAMES = tuple(name for name in METHODS if name not in (*space.ONE_PASS, *space.OWN))


def settings(name: str, rate: float, args: dict, budget: float) -> ConfigDict:
  """The run of a baseline with the optimizer and the batches of `anchored`."""
  own = space.OWN["anchored"]
  run = defaults.unlearning_run(name, learning_rate=rate, args=args, budget=budget)
  run.update(batch_size=own["batch_size"], optimizer=dict(name=own["optimizer"]))
  return run


def search(opened: study.Study, name: str, recorded: Sequence[dict]) -> list[dict]:
  """The trials of a method's learning rate on the cut; those `recorded` are not run again."""
  trials, args = [], tabulate.records()[name]["chosen"]["args"]
  make = lambda rate: settings(name, rate, args, space.SEARCH_BUDGET)
  study.search_rates(opened, name, make, trials, recorded, (RATES, LOWER))
  return trials


def main(argv: Sequence[str] | None = None) -> None:
  """Searches, runs and judges the chosen methods."""
  jax.config.update("jax_platforms", "cpu")
  parser = finished.parser("strict.alike", "the finished run seed-0", "method", NAMES)
  args = parser.parse_args(argv)
  seed = frontier.SEEDS[0]
  workdir, scratch = args.root / f"seed-{seed}", args.root / "strict" / f"seed-{seed}"
  record = Record(Bench(workdir, scratch, seed), NAME, frontier.RESULTS)
  opened = study.Study(workdir, scratch)
  searches = record.content.setdefault("searches", {})
  for name in args.methods:
    searches[name] = search(opened, name, searches.get(name, ()))
    choice = study.chosen(searches[name], opened.start)
    own = settings(name, choice["learning_rate"], choice["args"], variants.COMPARED)
    record.run_named(name, name, own)


if __name__ == "__main__":
  main()
