"""Runs the study of anchored caption editing: python -m experiments.anchored.study ROOT [PART ...]

ROOT holds finished mini runs of Clean and Compromised, made by `run.sh`: seed-0 to seed-2, and
pair-0 with the holdout unit `pair`. results/NAME.json is written after every run; runs already
there with the same settings are skipped.
"""

import pathlib
from collections.abc import Callable, Iterable, Sequence

import jax
import optax
from ml_collections import ConfigDict

from experiments import finished
from experiments.anchored import variants
from experiments.anchored.bench import Bench, factory
from salmu_jax.benchmark import stages
from salmu_jax.methods import anchored, runs
from salmu_jax.results import clauses
from salmu_jax.runtime import files, progress

RESULTS = pathlib.Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
BUDGETS = (1.0, 2.0, 5.0, 10.0, 20.0)  # of seed 0
PAIR_BUDGETS = (2.0, 5.0, 10.0)
PARTS = ("frontier", "baselines", "ablations", "reworded", "pair")


class Record:
  """results/NAME.json, written after every run.

  Args:
    bench: runs and judges.
    name: of the file.
    folder: of the file.
  """

  def __init__(self, bench: Bench, name: str, folder: pathlib.Path = RESULTS):
    self.bench, self.path = bench, folder / f"{name}.json"
    about = {
      "release": bench.data.release.digest,
      "seed": bench.job.config.seed,
      "unit": bench.job.config.generate.holdout_unit,
      "device": f"{jax.devices()[0].device_kind} x {bench.job.mesh.size}",
      **bench.bounds,
    }
    kept = files.read_json(self.path) if self.path.exists() else {}
    self.content = kept if about.items() <= kept.items() else {**about, "runs": {}}

  def run(
    self,
    label: str,
    settings: ConfigDict,
    make: Callable,
    *,
    paired: bool = True,
    more: Callable[[optax.Params], dict] = lambda params: {},
  ) -> None:
    """Runs and evaluates a method, unless the run is stored with the same settings.

    Args:
      label: of the run.
      settings: as config.unlearn.NAME.
      make: make(optimizer) -> Method.
      paired: whether a batch has the surrogates of its own rows.
      more: more(parameters) -> further entries of the run to store.
    """
    self.keep(
      label,
      settings,
      lambda: self.bench.unlearn(settings, make, paired=paired, label=label),
      more,
    )

  def keep(
    self,
    label: str,
    settings: ConfigDict,
    train: Callable[[], tuple[optax.Params, int, float]],
    more: Callable[[optax.Params], dict] = lambda params: {},
  ) -> None:
    """As `run`, for parameters from a function of the caller.

    Args:
      label, settings, more: as for `run`.
      train: () -> (parameters, steps, seconds).
    """
    training = runs.training_settings(settings)
    if self.content["runs"].get(label, {}).get("settings") == training:
      return
    params, steps, seconds = train()
    judged = self.bench.judge(params, label)
    timing = {"steps": steps, "seconds": seconds}
    self.content["runs"][label] = {"settings": training, **timing, **judged, **more(params)}
    files.write_json(self.path, self.content)
    progress.console.print(f"{label}: {clauses.in_short(judged['clauses'])}")

  def run_named(self, label: str, name: str, settings: ConfigDict) -> None:
    """As `run`, for a method given by name, with the arguments in `settings`."""
    steps = stages.budget_steps(settings, self.bench.data.count("forget"))
    make = factory(name, settings.args.to_dict(), steps, self.bench.job.config.seed)
    self.run(label, settings, make)


def frontier(record: Record, budgets: Iterable[float]) -> None:
  """Runs the method at every budget."""
  for budget in budgets:
    record.run(variants.at(budget), variants.settings(budget=budget), anchored.make)


def baselines(record: Record) -> None:
  """Runs the strongest baselines with their tuned settings."""
  for name in variants.STRONGEST:
    record.run_named(variants.at(variants.COMPARED, name), name, variants.settings(name))


def ablations(record: Record) -> None:
  """Runs the method with one part replaced, and baselines with its batches and optimizer."""
  for label, (make, changes, paired) in variants.ABLATIONS.items():
    settings = variants.settings(changes=changes)
    record.run(label, settings, make, paired=paired)
  own = variants.settings()
  for name in variants.STRONGEST:
    changes = {"batch_size": own.batch_size, "optimizer": {"name": own.optimizer.name}}
    settings = variants.settings(name, changes=changes)
    record.run_named(variants.with_its_optimizer(name), name, settings)


def reworded(record: Record) -> None:
  """Runs the method on reworded captions."""
  changes = {"args": {"reworded": variants.REWORDED}}
  settings = variants.settings(changes=changes)
  record.run_named(variants.at(variants.COMPARED, "reworded"), "anchored", settings)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the chosen parts of the study."""
  jax.config.update("jax_platforms", "cpu")
  held = "the finished runs seed-0 ... and pair-0"
  parser = finished.parser("anchored.study", held, "part", PARTS)
  parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
  args = parser.parse_args(argv)
  root, parts = args.root, args.parts
  for seed in args.seeds:
    name, first = f"seed-{seed}", seed == SEEDS[0]
    of_seed = {"frontier", "baselines", *(("ablations", "reworded") if first else ())}
    if of_seed & {*parts}:
      record = Record(Bench(root / name, root / "study" / name, seed), name)
    if "frontier" in parts:
      frontier(record, BUDGETS if first else (variants.COMPARED,))
    if "baselines" in parts:
      baselines(record)
    if "ablations" in parts and first:
      ablations(record)
    if "reworded" in parts and first:
      reworded(record)
  if "pair" in parts:
    bench = Bench(root / "pair-0", root / "study" / "pair-0", 0, unit="pair")
    frontier(Record(bench, "pair-0"), PAIR_BUDGETS)


if __name__ == "__main__":
  main()
