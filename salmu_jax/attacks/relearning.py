"""Relearning: a few forget pairs are learnt again; do the others come back?"""

import contextlib
import itertools
import numbers
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import optax
from ml_collections import ConfigDict

from salmu_jax import fields, losses, train, transforms
from salmu_jax.attacks.base import FORGET, Attack, CheckBatch, Finding, Inputs, Params, Run
from salmu_jax.data import dataset, pipeline
from salmu_jax.data.records import Rows
from salmu_jax.data.releases import Release
from salmu_jax.errors import InputError
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.methods.base import Method
from salmu_jax.methods.batches import unlearning_examples
from salmu_jax.train import optimizers


def settings() -> ConfigDict:
  """The settings of the attack."""
  config = ConfigDict()
  # Shares of forget that are learnt again, each in a run of its own; a batch at the least.
  config.shares = (0.01, 0.05, 0.1)
  # Numbers of steps after which the other rows are retrieved. The last one counts.
  config.steps = (10, 20)
  # Rows of forget in a step, and as many of retain, over all devices.
  config.batch_size = 16
  # Of AdamW, constant.
  config.learning_rate = 3e-4
  return config


def check(config: ConfigDict, where: str, check_batch: CheckBatch) -> None:
  """Raises InputError for the first setting that is impossible, see `base.Attack`."""
  number = lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool)
  if not config.shares or not all(number(share) and 0 < share < 1 for share in config.shares):
    raise InputError(
      f"{where}.shares = {config.shares!r}; give shares of forget, each between 0 and 1."
    )
  if not config.steps or not all(isinstance(n, int) and n > 0 for n in config.steps):
    raise InputError(f"{where}.steps = {config.steps!r}; give numbers of steps, each 1 or more.")
  fields.check_positive(config, where, "learning_rate")
  if config.batch_size < 2:
    raise InputError(
      f"{where}.batch_size = {config.batch_size}; it must be 2 or more: pairs are learnt "
      "from one another."
    )
  check_batch(f"{where.removeprefix('config.')}.batch_size", config.batch_size)


def check_data(config: ConfigDict, where: str, release: Release) -> None:
  """Raises InputError where forget or retain has too few rows for the settings."""
  counts = {half: pipeline.row_count(release, half) for half in (FORGET, "retain")}
  for half, count in counts.items():
    dataset.check_rows(where, config.batch_size, half, count)
  rows, section = counts[FORGET], where.removeprefix("config.")
  largest = max(config.batch_size, round(max(config.shares) * rows))
  if largest >= rows:
    raise InputError(
      f"{where} would learn {largest} of the {rows} rows of forget again ({section}.shares, "
      f"and at least {section}.batch_size), which leaves none to look at. Choose less of either, "
      f"or leave {ATTACK.key!r} out of attacks.names."
    )


def make(inputs: Inputs, config: ConfigDict) -> Run:
  """Returns run(params, z), see `base.Attack`. The step is compiled once for all models."""
  program = learner(inputs, config.learning_rate, config.batch_size)

  def run(params: Params, z: Embedded) -> Finding:
    ranks = inputs.evaluator.ranks(z)
    shares = {
      f"{share:g}": relearn(inputs, program, params, ranks, share, config)
      for share in config.shares
    }
    parts = {share: curve["MRR"][max(curve["MRR"])] for share, curve in shares.items()}
    return Finding(parts, {"shares": shares})

  return run


def learner(inputs: Inputs, learning_rate: float, batch_size: int) -> train.Program:
  """The step that learns forget and retain, contrastively and with AdamW."""
  constant = optimizers.settings(learning_rate, warmup=0.0, end=1.0)
  optimizer = optimizers.make_optimizer(constant, 1)
  tx = optax.chain(transforms.add_retain(1.0), optimizer)
  examples = unlearning_examples(inputs.data, image_size=inputs.image_size, seed=inputs.seed)
  method = Method(losses.contrastive, losses.contrastive, tx)
  return inputs.program(method, batch_size, lambda: pipeline.sample_texts(examples))


def relearn(
  inputs: Inputs,
  program: train.Program,
  params: Params,
  ranks: np.ndarray,
  share: float,
  config: ConfigDict,
) -> dict[str, Any]:
  """What a share of forget, learnt again together with retain, brings back of the other rows.

  Facts are drawn with all their rows, so that the other rows tell none of them.

  Args:
    inputs: what attacks start from.
    program: from `learner`.
    params: of the attacked model.
    ranks: (N,) its RetFail ranks of forget.
    share: of forget, at least a batch of it.
    config: `batch_size` and `steps`, as `settings` has them.

  Returns:
    {"rows": how many rows were learnt, "MRR": {steps, 0 included: MRR on the rows of all other
    facts}}.
  """
  rows = inputs.data.records[FORGET]
  count = max(config.batch_size, round(share * len(rows)))
  learnt = draw_rows([leak.fact for leak in inputs.leaks], count, inputs.seed)
  others = np.setdiff1d(np.arange(len(rows)), learnt)
  records = {**inputs.data.records, FORGET: Rows(rows, learnt)}
  state = program.start(params)
  mrr = lambda ranks: metrics.mean_reciprocal_rank(ranks[others])
  curve = {0: mrr(ranks)}
  examples = unlearning_examples(
    inputs.data._replace(records=records), image_size=inputs.image_size, seed=inputs.seed
  )
  stream = pipeline.start(examples, config.batch_size, threads=inputs.threads)
  with contextlib.closing(stream):
    batches = itertools.islice(program.batches(stream), max(config.steps))
    for step, batch in enumerate(batches, start=1):
      state, _ = program.step(state, params, batch)
      if step in config.steps:
        curve[step] = mrr(inputs.evaluator.forget_ranks(state.params))
  return {"rows": len(learnt), "MRR": curve}


def draw_rows(facts: Sequence[Hashable], count: int, seed: int) -> np.ndarray:
  """Draws facts until they have `count` rows; returns the sorted numbers of all their rows.

  Args:
    facts: what each row tells.
  """
  rows_of = {fact: [] for fact in facts}
  for row, fact in enumerate(facts):
    rows_of[fact].append(row)
  groups, rows = list(rows_of.values()), []
  for number in np.random.default_rng(seed).permutation(len(groups)):
    if len(rows) >= count:
      break
    rows += groups[number]
  return np.array(sorted(rows))


ATTACK = Attack(
  key="Relearning",
  label="Retrieval after learning a few forget pairs again",
  reduction="mean",
  make=make,
  settings=settings,
  check=check,
  check_data=check_data,
)
