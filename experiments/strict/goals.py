"""Other goals for closed-form edits: python -m experiments.strict.goals ROOT

In `experiments.strict.closed` the goal of a forget caption is its old embedding minus the component
along its picture. Here the goals are embeddings of other captions, which need no picture: the same
words without the private values, or with a made-up value instead of the true one.
results/goal-NAME-seed-0.json is written after every run; runs already there are skipped. The best
edit of each goal is attacked too, selected as in `experiments.strict.closed`.
"""

from collections.abc import Sequence

import numpy as np

from experiments.anchored.bench import Bench
from experiments.strict import closed, possible
from salmu_jax.data.leaks import Leak, leak_of

STRENGTHS = (("ridge", 0.1), ("ridge", 1.0), ("null space", 0.5), ("null space", 0.9))
PLACES = ("layer 1", "both layers")


def other_captions(told: Sequence[Leak], seed: int) -> list[str]:
  """The captions with another value of their field, the same for all rows of a fact.

  Captions that do not contain their value verbatim are unchanged.

  Args:
    told: the leak of each row of forget.
    seed: see `possible.stand_ins`.
  """
  values = possible.stand_ins(told, seed)
  return [leak.with_value(values[leak.fact]) or leak.text for leak in told]


def without_value(bench: Bench, world: closed.World) -> np.ndarray:
  """(N, D): the goal of a caption is the embedding of its generic caption."""
  del world
  captions = [str(row["generic"]) for row in closed.rows_of(bench, "forget")]
  return np.asarray(bench.evaluator.embed_texts(bench.start, captions))


def another_value(bench: Bench, world: closed.World) -> np.ndarray:
  """(N, D): the goal of a caption is the embedding of the same caption with another value."""
  del world
  return np.asarray(bench.evaluator.embed_texts(bench.start, _others(bench)))


def another_value_apart(bench: Bench, world: closed.World) -> np.ndarray:
  """(N, D): `another_value` minus the component along the picture."""
  del world
  return closed.less_picture(bench, _others(bench))


def _others(bench):
  rows = closed.rows_of(bench, "forget")
  return other_captions([leak_of(bench.data.release, row) for row in rows], closed.SEED)


# Name of the results -> goals(bench, world) -> (N, D).
GOALS = {
  "without-value": without_value,
  "another-value": another_value,
  "another-value-apart": another_value_apart,
}


def runs() -> list[closed.Run]:
  """The edits for each goal: those of `closed.runs` that came closest."""
  return [closed.Run(where, *strength, 1.0) for where in PLACES for strength in STRENGTHS]


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the edits for every goal."""
  bench = closed.opened(argv, "goals")
  for name, goals in GOALS.items():
    path = closed.RESULTS.with_name(f"goal-{name}-seed-{closed.SEED}.json")
    study = closed.Study(bench, goals, path)
    for one in runs():
      study.run(one)
    kinds = ("ridge", "null space")
    candidates = [closed.best(study.content, kind) for kind in kinds]
    share = lambda one, study=study: min(study.content["runs"][one.label]["shares"].values())
    study.judge(max(candidates, key=share))


if __name__ == "__main__":
  main()
