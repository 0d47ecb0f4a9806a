"""How near one gets to the strict verdict: python -m experiments.strict.frontier ROOT [PART ...]

ROOT holds finished mini runs of Clean and Compromised, as run.sh makes them: seed-0 to seed-4, and
pair-0. `anchored` runs with target "removed" and strong anchors at budgets from 1x to 32x, with one
lever changed, with token embeddings alone at more budgets, on a part of forget, and on other seeds.
results/frontier-*.json is written after every run, and a run that is there with the same settings
is not made again.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from experiments import finished
from experiments.anchored import variants
from experiments.anchored.bench import Bench
from experiments.anchored.study import Record
from salmu_jax import losses
from salmu_jax.benchmark import stages
from salmu_jax.data import releases
from salmu_jax.data.leaks import leaks
from salmu_jax.data.records import Rows
from salmu_jax.methods import anchored
from salmu_jax.models.clip import Embeddings

RESULTS = pathlib.Path(__file__).parent / "results"
SEEDS = (0, 1, 2, 3, 4)  # levers were looked at on the first alone
BUDGETS = (1.0, 2.0, 5.0, 10.0, 20.0, 32.0)
ANCHORS = 16.0
ARGS = {"target": "removed", "anchors": ANCHORS}
TOKENS = "token embeddings alone"
TOKEN_BUDGETS = (10.0, 20.0, 32.0)  # beside that of the lever
SHARE = 0.25  # of the facts of forget, in the part `shares`
_SCALE = 50.0
PARTS = ("budgets", "levers", "tokens", "shares", "seeds", "pair")


class Lever(NamedTuple):
  """One change of the run.

  args: of `anchored` that differ from ARGS.
  optimizer: fields of the optimizer that differ.
  make: make(optimizer) -> Method where arguments do not say it, for a run of `steps`.
  """

  args: Mapping[str, Any] = {}
  optimizer: Mapping[str, Any] = {}
  make: Callable[[int], Callable] | None = None


@losses.comparing
def ranked_retention(z: Embeddings, reference: Embeddings) -> jax.Array:
  """Each surrogate is to find its own old embedding among those of the batch, and stay there.

  1 - cos to the own one, and the cross-entropy of all cosines at a logit scale of 50, divided by
  it; surrogates of one embedding count as one.
  """
  new, old = (one.surrogate.reshape(-1, one.surrogate.shape[-1]) for one in (z, reference))
  same = old @ old.T > 1 - 1e-6
  logits = _SCALE * (new @ old.T)
  found = jax.nn.logsumexp(logits, axis=1, where=same) - jax.nn.logsumexp(logits, axis=1)
  return losses.surrogate_retention(z, reference) - jnp.mean(found) / _SCALE


def tokens_first(steps: int) -> optax.GradientTransformation:
  """Moves the token embeddings alone until half of the run is done. After the optimizer."""

  def init(params):
    del params
    return jnp.zeros((), jnp.int32)

  def update(updates, count, params=None):
    del params
    late = (count >= steps // 2).astype(jnp.float32)
    held = jax.tree_util.tree_map_with_path(
      lambda path, u: u if "token_embedding" in jax.tree_util.keystr(path) else late * u, updates
    )
    return held, count + 1

  return optax.GradientTransformation(init, update)


def _like(**changes):
  return lambda steps: variants.like(losses.component_removed, anchors=ANCHORS, **changes)


LEVERS: Mapping[str, Lever] = {
  "mismatched": Lever({"target": "mismatched"}),
  "anchors of 4": Lever({"anchors": 4.0}),
  "anchors of 64": Lever({"anchors": 64.0}),
  "twelve surrogates": Lever({"surrogates": 12}),
  "half of the captions reworded": Lever({"reworded": 0.5}),
  "surrogates held by rank too": Lever(make=_like(near_loss=ranked_retention)),
  TOKENS: Lever(make=_like(patterns="^text/token_embedding")),
  "token embeddings first": Lever(make=lambda steps: _like(after=(tokens_first(steps),))(steps)),
  "a third of the learning rate": Lever(optimizer={"learning_rate": 1e-3}),
  "SAM": Lever({"robust": ["sam", {"rho": 0.1}]}),
}


def settings(budget: float = variants.COMPARED, lever: Lever | None = None) -> ConfigDict:
  """The run at a budget, with a lever changed."""
  lever = lever or Lever()
  changes = {"args": {**ARGS, **lever.args}, "optimizer": dict(lever.optimizer)}
  return variants.settings(budget=budget, changes=changes)


def at(budget: float) -> str:
  """The label of a run at a budget."""
  return variants.at(budget, "removed")


def run(record: Record, label: str, budget: float, lever: Lever | None = None) -> None:
  """Runs and judges what a lever changes."""
  own = settings(budget, lever)
  if lever and lever.make:
    steps = stages.budget_steps(own, record.bench.data.count("forget"))
    record.run(label, own, lever.make(steps))
  else:
    record.run_named(label, "anchored", own)


def shares(record: Record) -> None:
  """Forgets a share of the facts: alone, and with the captions of the others held like retain."""
  bench, whole = record.bench, record.bench.data
  chosen = folds_of_forget(bench, round(1 / SHARE)) == 0
  part, rest = (Rows(whole.records["forget"], np.flatnonzero(x)) for x in (chosen, ~chosen))
  held = {split: rest for split in whole.splits("retain")}
  measured = functools.partial(leak, bench, chosen)
  own = settings(variants.COMPARED * SHARE)  # as many passes over the part
  make = variants.like(losses.component_removed, anchors=ANCHORS)
  for label, more in {"a quarter of the facts": {}, "a quarter, the others held": held}.items():
    bench.data = whole._replace(records={**whole.records, "forget": part, **more})
    record.run(label, own, make, more=measured)
  bench.data = whole


def folds_of_forget(bench: Bench, count: int) -> np.ndarray:
  """Which of `count` folds of the facts each row of forget is in, (N,) of int."""
  release = bench.data.release
  told = leaks(release, releases.columns(release, "forget"))
  facts = np.array([f"{leak.identity} {leak.field}" for leak in told])
  distinct, fact = np.unique(facts, return_inverse=True)
  order = np.random.default_rng(bench.job.config.seed).permutation(len(distinct))
  fold = np.empty(len(distinct), int)
  for number, members in enumerate(np.array_split(order, count)):
    fold[members] = number
  return fold[fact]


def leak(bench: Bench, chosen: np.ndarray, params: optax.Params) -> dict[str, dict]:
  """{"leak": {"part", "rest": MRR of RetFail over the rows that are chosen, and the others}}."""
  found = 1 / (1 + np.asarray(bench.ranks(params)))
  return {"leak": {"part": float(found[chosen].mean()), "rest": float(found[~chosen].mean())}}


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the chosen parts of the study."""
  jax.config.update("jax_platforms", "cpu")
  held = "the finished runs seed-0 ... and pair-0"
  args = finished.parser("strict.frontier", held, "part", PARTS).parse_args(argv)
  root, parts = args.root, args.parts
  if {*parts} - {"pair"}:
    _on_seeds(root, parts)
  if "pair" in parts:
    bench = Bench(root / "pair-0", root / "strict" / "pair-0", 0, unit="pair")
    run(Record(bench, "frontier-pair-0", RESULTS), at(variants.COMPARED), variants.COMPARED)


def _on_seeds(root, parts):
  for seed in SEEDS if "seeds" in parts else SEEDS[:1]:
    name = f"seed-{seed}"
    record = Record(Bench(root / name, root / "strict" / name, seed), f"frontier-{name}", RESULTS)
    run(record, at(variants.COMPARED), variants.COMPARED)
    if "seeds" in parts:
      record.run(variants.at(variants.COMPARED), variants.settings(), anchored.make)
    if seed == SEEDS[0]:
      for budget in BUDGETS if "budgets" in parts else ():
        run(record, at(budget), budget)
      for label, lever in LEVERS.items() if "levers" in parts else ():
        run(record, label, variants.COMPARED, lever)
      for budget in TOKEN_BUDGETS if "tokens" in parts else ():
        run(record, variants.at(budget, TOKENS), budget, LEVERS[TOKENS])
      if "shares" in parts:
        shares(record)


if __name__ == "__main__":
  main()
