"""Runs the study of anchored caption editing: python -m experiments.anchored.study ROOT [PART ...]

ROOT holds finished mini runs of Clean and Compromised, one a seed: seed-0 to seed-4, and pair-0,
whose unit of the holdout is the pair. `run.sh` makes them. Everything goes to results/NAME.json as
soon as it is known; what is there and was made with the same settings is not run again.
"""

import argparse
import pathlib

import jax

from experiments.anchored import attacks, variants
from experiments.anchored.bench import Bench, made
from salmu_jax.methods import METHODS, anchored, runs
from salmu_jax.runtime import files, progress

RESULTS = pathlib.Path(__file__).parent / "results"
SEEDS = tuple(range(5))
BUDGETS = (1.0, 2.0, 5.0, 10.0, 20.0, 32.0)
ABLATED = 5.0
ATTACKED = 20.0
# The baselines that come nearest on the seed they were tuned on (experiments/baselines).
STRONGEST = ("bounded_ascent", "salun")
PARTS = ("frontier", "baselines", "ablations", "reworded", "attacks", "pair")


class Record:
  """results/NAME.json, written after every run."""

  def __init__(self, bench, name):
    self.bench, self.path = bench, RESULTS / f"{name}.json"
    about = {
      "release": bench.data.release.digest,
      "seed": bench.job.config.seed,
      "unit": bench.job.config.generate.holdout_unit,
      "device": f"{jax.devices()[0].device_kind} x {bench.job.mesh.size}",
    }
    known = files.read_json(self.path) if self.path.exists() else {}
    self.found = known if about.items() <= known.items() else {**about, "runs": {}, "attacks": {}}
    for name in bench.params:
      if name not in self.found:
        self.found[name] = bench.judge(bench.params[name])
    self.save()

  def save(self):
    files.write_json(self.path, self.found)

  def run(self, label, settings, make, *, paired=True, attacked_as=None):
    """One run, judged, and attacked where that has a name; nothing where all of it is there."""
    asked = runs.training_settings(settings)
    attacked = attacked_as is None or attacked_as in self.found["attacks"]
    if attacked and self.found["runs"].get(label, {}).get("settings") == asked:
      return
    params, steps, seconds = self.bench.unlearn(settings, make, paired=paired, label=label)
    judged = self.bench.judge(params)
    if attacked_as:
      self.found["attacks"][attacked_as] = attacks.attack(self.bench, params)
    self.found["runs"][label] = {"settings": asked, "steps": steps, "seconds": seconds, **judged}
    self.save()
    progress.console.print(f"{label}: {judged['scores']}")

  def run_named(self, label, name, settings, **options):
    """`run` of a method by its name, with the arguments that the settings have."""
    make = made(METHODS[name], settings.args.to_dict(), self.bench.job.config.seed)
    self.run(label, settings, make, **options)


def frontier(record, budgets):
  """The method at every budget; at ATTACKED, what brings back what it hid."""
  for budget in budgets:
    settings = variants.settings(budget=budget)
    attacked_as = "anchored" if budget == ATTACKED else None
    record.run(f"anchored {budget:g}x", settings, anchored.make, attacked_as=attacked_as)


def baselines(record):
  """The strongest baselines as they are tuned, at 5x."""
  for name in STRONGEST:
    record.run_named(f"{name} 5x", name, variants.settings(name))


def ablations(record):
  """The method with one part exchanged, and baselines with its batches and optimizer."""
  for label, (make, changes, paired) in variants.ABLATIONS.items():
    settings = variants.settings(budget=ABLATED, changes=changes)
    record.run(label, settings, make, paired=paired)
  own = variants.settings()
  for name in variants.CONTROLS:
    changes = {"batch_size": own.batch_size, "optimizer": {"name": own.optimizer.name}}
    settings = variants.settings(name, changes=changes)
    record.run_named(f"{name}, its batches and optimizer", name, settings)


def reworded(record):
  """The method on loosened words, and what brings back what it hid."""
  changes = {"args": {"reworded": variants.REWORDED}}
  settings = variants.settings(budget=ATTACKED, changes=changes)
  record.run_named(f"reworded {ATTACKED:g}x", "anchored", settings, attacked_as="reworded")


def bounds_attacked(record):
  """What the attacks get of Clean and of Compromised."""
  for name, params in record.bench.params.items():
    if name not in record.found["attacks"]:
      record.found["attacks"][name] = attacks.attack(record.bench, params)
      record.save()


def main(argv=None):
  """Runs the parts that are asked for."""
  parser = argparse.ArgumentParser(prog="python -m experiments.anchored.study")
  parser.add_argument(
    "root", type=pathlib.Path, help="with the finished runs seed-0 ... and pair-0"
  )
  parser.add_argument(
    "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none"
  )
  parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
  parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="of the frontier")
  args = parser.parse_args(argv)
  for part in set(args.parts) - set(PARTS):
    parser.error(f"no part {part!r}; parts are {', '.join(PARTS)}")
  root, asked = args.root.absolute(), args.parts or PARTS
  for seed in args.seeds:
    name = f"seed-{seed}"
    record = Record(Bench(root / name, root / "study" / name, seed), name)
    if "frontier" in asked:
      frontier(record, args.budgets)
    if "baselines" in asked:
      baselines(record)
    if "ablations" in asked and seed == SEEDS[0]:
      ablations(record)
    if "reworded" in asked and seed == SEEDS[0]:
      reworded(record)
    if "attacks" in asked and seed == SEEDS[0]:
      bounds_attacked(record)
  if "pair" in asked:
    record = Record(Bench(root / "pair-0", root / "study" / "pair-0", 0, unit="pair"), "pair-0")
    frontier(record, args.budgets)


if __name__ == "__main__":
  main()
