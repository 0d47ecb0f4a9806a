"""Where closed-form edits should bring forget captions: python -m experiments.strict.goals ROOT

`experiments.strict.closed` embeds each forget caption where it was, less its component along its
picture. Here the goals are those of other captions, which a text tower can tell without a picture:
the same words without the private values, or with a made-up value in the place of the true one.
results/goal-NAME-seed-0.json is written after every run; a run that is there is not made again.
The best run of each goal is attacked too, chosen as in `experiments.strict.closed`.
"""

import argparse
import pathlib
from collections.abc import Iterable, Sequence

import jax
import numpy as np

from experiments.anchored.bench import Bench
from experiments.strict import closed, possible
from salmu_jax.data import pipeline
from salmu_jax.data.leaks import Leak, leak_of
from salmu_jax.models.clip import unit

STRENGTHS = (("ridge", 0.1), ("ridge", 1.0), ("null space", 0.5), ("null space", 0.9))
PLACES = ("layer 1", "both layers")


def other_captions(told: Sequence[Leak], seed: int) -> list[str]:
  """The captions with another value of their field, the same for all rows of a fact.

  Captions that do not hold their value verbatim stay as they are.

  Args:
    told: the leak of each row of forget. seed: see `possible.stand_ins`.
  """
  values = possible.stand_ins(told, seed)
  return [leak.with_value(values[leak.fact]) or leak.text for leak in told]


def without_value(bench: Bench, world: closed.World) -> np.ndarray:
  """(N, D): each caption is embedded as its generic caption was."""
  del world
  return _embedded(bench, (str(row["generic"]) for row in _forget(bench)))


def another_value(bench: Bench, world: closed.World) -> np.ndarray:
  """(N, D): each caption is embedded as the same with another value was."""
  del world
  told = [leak_of(bench.data.release, row) for row in _forget(bench)]
  return _embedded(bench, other_captions(told, closed.SEED))


def another_value_apart(bench: Bench, world: closed.World) -> np.ndarray:
  """(N, D): `another_value`, less the component along the picture."""
  text = another_value(bench, world)
  image = bench.evaluator.embed_pictures(bench.start, "forget")
  return np.asarray(unit(text - np.sum(image * text, axis=-1, keepdims=True) * image))


# Name of the results -> goals(bench, world) -> (N, D).
GOALS = {
  "without-value": without_value,
  "another-value": another_value,
  "another-value-apart": another_value_apart,
}


def runs() -> list[closed.Run]:
  """The edits for each goal: those of `closed.runs` that came nearest."""
  return [closed.Run(where, *strength, 1.0) for where in PLACES for strength in STRENGTHS]


def _forget(bench):
  rows = pipeline.open_training(bench.data.records, "forget", bench.data.splits("forget"))
  return [rows[k] for k in range(len(rows))]


def _embedded(bench: Bench, texts: Iterable[str]) -> np.ndarray:
  return np.asarray(bench.evaluator.embed_texts(bench.start, [*texts]))


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the edits for every goal."""
  jax.config.update("jax_platforms", "cpu")
  parser = argparse.ArgumentParser(prog="python -m experiments.strict.goals")
  parser.add_argument("root", type=pathlib.Path, help="with the finished run seed-0")
  parser.add_argument(
    "--scratch", type=pathlib.Path, help="for caches; ROOT/study/closed if absent"
  )
  args = parser.parse_args(argv)
  root = args.root.absolute()
  bench = Bench(root / "seed-0", args.scratch or root / "study" / "closed", closed.SEED)
  for name, goals in GOALS.items():
    path = closed.RESULTS.with_name(f"goal-{name}-seed-{closed.SEED}.json")
    study = closed.Study(bench, goals, path)
    for one in runs():
      study.run(one)
    kinds = ("ridge", "null space")
    found = [closed.best(study.content, kind) for kind in kinds]
    share = lambda one, study=study: min(study.content["runs"][one.label]["shares"].values())
    study.judge(max(found, key=share))


if __name__ == "__main__":
  main()
