"""Robustness to relearning: python -m experiments.strict.robust ROOT [LABEL ...]

ROOT/seed-0 is a finished mini run of Clean and Compromised, as experiments/anchored/run.sh makes
it. `anchored` runs unchanged and with every defence of WAYS. results/robust-seed-0.json is written
after every run; runs already there with the same settings are skipped.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments import finished
from experiments.anchored import variants
from experiments.anchored.bench import Bench
from experiments.anchored.study import Record

RESULTS = pathlib.Path(__file__).parent / "results"
SEED = 0  # the development seed, whose scores were seen
# Label -> the argument `robust`, as in JSON; None for the unchanged method.
WAYS: Mapping[str, list[Any] | None] = {
  "plain": None,
  "sam 0.05": ["sam", {"rho": 0.05}],
  "sam 0.1": ["sam", {"rho": 0.1}],
  "sam 0.2": ["sam", {"rho": 0.2}],
  "sam 0.5": ["sam", {"rho": 0.5}],
  "adversary 5": ["adversary", {"learning_rate": 1e-3, "every": 5}],
  "adversary 5, slow": ["adversary", {"learning_rate": 1e-4, "every": 5}],
  "adversary 20, slow": ["adversary", {"learning_rate": 1e-4, "every": 20}],
  "contexts 0.25": ["contexts", {"radius": 0.25}],
  "contexts 1": ["contexts", {"radius": 1.0}],
  "undo 0": ["undo", {"alpha": 0.0}],  # no noise, only another reference model
  "undo 0.03": ["undo", {"alpha": 0.03}],
  "undo 0.1": ["undo", {"alpha": 0.1}],
  "undo 0.3": ["undo", {"alpha": 0.3}],
}


def settings(label: str) -> ConfigDict:
  """The settings of `anchored` at the budget of comparisons, with the defence of a label."""
  way = WAYS[label]
  return variants.settings(changes={"args": {"robust": way}} if way else None)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the labels of the command line, or all."""
  jax.config.update("jax_platforms", "cpu")
  parser = finished.parser("strict.robust", "the finished run seed-0", "label", WAYS)
  parser.add_argument("--scratch", type=pathlib.Path, help="folder; default: in ROOT")
  args = parser.parse_args(argv)
  name, root = f"seed-{SEED}", args.root
  scratch = (args.scratch or root / "strict").absolute() / name
  record = Record(Bench(root / name, scratch, SEED), f"robust-{name}", RESULTS)
  for label in args.labels:
    record.run_named(label, "anchored", settings(label))


if __name__ == "__main__":
  main()
