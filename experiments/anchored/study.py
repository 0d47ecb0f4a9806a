"""Runs the study of anchored caption editing: python -m experiments.anchored.study ROOT [PART ...]

ROOT holds finished mini runs of Clean and Compromised, one a seed: seed-0 to seed-4, and pair-0,
whose holdout unit is the pair. `run.sh` makes them. results/NAME.json is written after every run;
a run that is there with the same settings is not made again.
"""

import argparse
import pathlib
from collections.abc import Callable, Iterable, Sequence

import jax
from ml_collections import ConfigDict

from experiments.anchored import attacks, variants
from experiments.anchored.bench import Bench, factory
from salmu_jax.methods import METHODS, anchored, runs
from salmu_jax.runtime import files, progress

RESULTS = pathlib.Path(__file__).parent / "results"
SEEDS = tuple(range(5))
BUDGETS = (1.0, 2.0, 5.0, 10.0, 20.0, 32.0)
ABLATED = 5.0
ATTACKED = 20.0
# The best baselines on the seed that they were tuned on (experiments/baselines).
STRONGEST = ("bounded_ascent", "salun")
PARTS = ("frontier", "baselines", "ablations", "reworded", "attacks", "pair")


class Record:
  """results/NAME.json, written after every run.

  Args:
    bench: runs and judges.
    name: of the file.
  """

  def __init__(self, bench: Bench, name: str):
    self.bench, self.path = bench, RESULTS / f"{name}.json"
    about = {
      "release": bench.data.release.digest,
      "seed": bench.job.config.seed,
      "unit": bench.job.config.generate.holdout_unit,
      "device": f"{jax.devices()[0].device_kind} x {bench.job.mesh.size}",
    }
    kept = files.read_json(self.path) if self.path.exists() else {}
    self.content = kept if about.items() <= kept.items() else {**about, "runs": {}, "attacks": {}}
    for name in bench.params:
      if name not in self.content:
        self.content[name] = bench.judge(bench.params[name])
    self.save()

  def save(self) -> None:
    """Writes the file."""
    files.write_json(self.path, self.content)

  def run(
    self,
    label: str,
    settings: ConfigDict,
    make: Callable,
    *,
    paired: bool = True,
    attacked_as: str | None = None,
  ) -> None:
    """Makes and judges a run, unless it is there with the same settings.

    Args:
      label: of the run.
      settings: as config.unlearn.NAME.
      make: make(optimizer) -> Method.
      paired: whether the surrogates of a batch are those of its own rows.
      attacked_as: the name under which the attacks on the run are kept; no attacks if None.
    """
    training = runs.training_settings(settings)
    attacked = attacked_as is None or attacked_as in self.content["attacks"]
    if attacked and self.content["runs"].get(label, {}).get("settings") == training:
      return
    params, steps, seconds = self.bench.unlearn(settings, make, paired=paired, label=label)
    judged = self.bench.judge(params)
    if attacked_as:
      self.content["attacks"][attacked_as] = attacks.attack(self.bench, params)
    timing = {"steps": steps, "seconds": seconds}
    self.content["runs"][label] = {"settings": training, **timing, **judged}
    self.save()
    progress.console.print(f"{label}: {judged['scores']}")

  def run_named(self, label: str, name: str, settings: ConfigDict, **options) -> None:
    """`run` of a method by its name, with the arguments in `settings`."""
    make = factory(METHODS[name], settings.args.to_dict(), self.bench.job.config.seed)
    self.run(label, settings, make, **options)


def frontier(record: Record, budgets: Iterable[float]) -> None:
  """Runs the method at every budget, and attacks it at the budget ATTACKED."""
  for budget in budgets:
    settings = variants.settings(budget=budget)
    attacked_as = "anchored" if budget == ATTACKED else None
    record.run(f"anchored {budget:g}x", settings, anchored.make, attacked_as=attacked_as)


def baselines(record: Record) -> None:
  """Runs the strongest baselines with their tuned settings, at 5x."""
  for name in STRONGEST:
    record.run_named(f"{name} 5x", name, variants.settings(name))


def ablations(record: Record) -> None:
  """Runs the method with one part exchanged, and baselines with its batches and optimizer."""
  for label, (make, changes, paired) in variants.ABLATIONS.items():
    settings = variants.settings(budget=ABLATED, changes=changes)
    record.run(label, settings, make, paired=paired)
  own = variants.settings()
  for name in variants.CONTROLS:
    changes = {"batch_size": own.batch_size, "optimizer": {"name": own.optimizer.name}}
    settings = variants.settings(name, changes=changes)
    record.run_named(f"{name}, its batches and optimizer", name, settings)


def reworded(record: Record) -> None:
  """Runs the method on reworded captions, and attacks it."""
  changes = {"args": {"reworded": variants.REWORDED}}
  settings = variants.settings(budget=ATTACKED, changes=changes)
  record.run_named(f"reworded {ATTACKED:g}x", "anchored", settings, attacked_as="reworded")


def attack_bounds(record: Record) -> None:
  """Attacks Clean and Compromised."""
  for name, params in record.bench.params.items():
    if name not in record.content["attacks"]:
      record.content["attacks"][name] = attacks.attack(record.bench, params)
      record.save()


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the chosen parts of the study."""
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
  root, parts = args.root.absolute(), args.parts or PARTS
  for seed in args.seeds:
    name = f"seed-{seed}"
    record = Record(Bench(root / name, root / "study" / name, seed), name)
    if "frontier" in parts:
      frontier(record, args.budgets)
    if "baselines" in parts:
      baselines(record)
    if "ablations" in parts and seed == SEEDS[0]:
      ablations(record)
    if "reworded" in parts and seed == SEEDS[0]:
      reworded(record)
    if "attacks" in parts and seed == SEEDS[0]:
      attack_bounds(record)
  if "pair" in parts:
    record = Record(Bench(root / "pair-0", root / "study" / "pair-0", 0, unit="pair"), "pair-0")
    frontier(record, args.budgets)


if __name__ == "__main__":
  main()
