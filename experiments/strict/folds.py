"""Forgetting fold by fold: python -m experiments.strict.folds ROOT [PART ...]

ROOT/seed-0 holds a finished mini run of Clean and Compromised, as run.sh makes them. The facts of
forget are cut into FOLDS folds. `layers` forgets them one after another, the later ones held at
first (Layered Unlearning, arXiv 2505.09500); `merged` forgets every fold from Compromised, and adds
up what each run has changed. Each takes as many steps as 5x of all facts.
results/folds-seed-0.json is written after every run, and a run that is there with the same settings
is not made again.
"""

import functools
from collections.abc import Sequence

import jax
import numpy as np
import optax

from experiments import finished
from experiments.anchored import variants
from experiments.anchored.bench import Bench
from experiments.anchored.study import Record
from experiments.strict import frontier
from salmu_jax import losses
from salmu_jax.data.records import Joined, Rows

NAME = f"folds-seed-{frontier.SEEDS[0]}"
FOLDS = 4


def forget_fold(
  bench: Bench, chosen: np.ndarray, held: np.ndarray, label: str
) -> tuple[optax.Params, int, float]:
  """(parameters, steps, seconds) of a run from `bench.start` on a part of forget.

  Args:
    bench: runs it.
    chosen: (N,) of bool, the rows of forget that are forgotten.
    held: (N,) of bool, those that are held like retain. They are repeated until there are as many
      as rows of retain, and retain is read beside them.
    label: of the progress bar.
  """
  whole = bench.data
  rows = {**whole.records, "forget": Rows(whole.records["forget"], np.flatnonzero(chosen))}
  if held.any():
    numbers = np.flatnonzero(held)
    for split in whole.splits("retain"):
      retain = whole.records[split]
      repeated = Rows(whole.records["forget"], np.resize(numbers, len(retain)))
      rows[split] = Joined([retain, repeated])
  bench.data = whole._replace(records=rows)
  try:
    settings = frontier.settings(variants.COMPARED * chosen.mean())
    make = variants.like(losses.component_removed, anchors=frontier.ANCHORS)
    return bench.unlearn(settings, make, label=label)
  finally:
    bench.data = whole


def layered(bench: Bench, *, held: bool = True) -> tuple[optax.Params, int, float]:
  """The folds one after another, each run from the model before; later folds held, or not."""
  first, fold = bench.start, frontier.folds_of_forget(bench, FOLDS)
  steps, seconds = 0, 0.0
  for number in range(FOLDS):
    later = (fold > number) & held
    label = f"fold {number + 1} of {FOLDS}"
    bench.start, more, took = forget_fold(bench, fold == number, later, label)
    steps, seconds = steps + more, seconds + took
  params, bench.start = bench.start, first
  return params, steps, seconds


def merged(bench: Bench) -> tuple[optax.Params, int, float]:
  """Every fold from Compromised, and the sum of what the runs have changed."""
  fold, steps, seconds = frontier.folds_of_forget(bench, FOLDS), 0, 0.0
  params = bench.start
  for number in range(FOLDS):
    label = f"fold {number + 1} of {FOLDS}"
    own, more, took = forget_fold(bench, fold == number, np.zeros_like(fold, bool), label)
    params = jax.tree.map(lambda p, new, old: p + (new - old), params, own, bench.start)
    steps, seconds = steps + more, seconds + took
  return params, steps, seconds


# Part -> (label of the run, what makes its parameters).
WAYS = {
  "layers": ("fold by fold, the later ones held", layered),
  "unheld": ("fold by fold", functools.partial(layered, held=False)),
  "merged": ("folds apart, their changes added", merged),
}


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the chosen parts of the study."""
  jax.config.update("jax_platforms", "cpu")
  parser = finished.parser("strict.folds", "the finished run seed-0", "part", WAYS)
  args = parser.parse_args(argv)
  name = f"seed-{frontier.SEEDS[0]}"
  bench = Bench(args.root / name, args.root / "strict" / name, frontier.SEEDS[0])
  record = Record(bench, NAME, frontier.RESULTS)
  for part in args.parts:
    label, way = WAYS[part]
    record.keep(label, frontier.settings(), functools.partial(way, bench))


if __name__ == "__main__":
  main()
