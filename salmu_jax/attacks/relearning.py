"""The relearning attack: a few forget pairs are learnt again; do the others come back?"""

import contextlib
import itertools

import numpy as np
import optax

from salmu_jax import losses, train, transforms
from salmu_jax.data.records import Rows
from salmu_jax.evaluate import metrics
from salmu_jax.methods.base import Method
from salmu_jax.methods.batches import unlearning_batches
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers


def learner(setup, rate):
  """The step that learns forget and retain, contrastively and with AdamW, as
  `train.unlearn_program` makes it.
  """
  optimizer = optimizers.make_optimizer(optimizers.settings(rate, warmup=0.0, end=1.0), 1)
  tx = optax.chain(transforms.add_retain(1.0), optimizer)
  method = Method(losses.contrastive, losses.contrastive, tx)
  return train.unlearn_program(setup.config, setup.model, setup.mesh, method)


def relearn(setup, evaluator, params, facts, share, settings, seed, program):
  """What a share of forget, learnt again together with retain, brings back of the rest.

  Facts are drawn, with all their rows, so that the rest tells none of them.

  Args:
    setup: stages.Setup. evaluator: the Evaluator. params: of the attacked model.
    facts: (N,) what each row of forget tells, see `asking.fact`.
    share: of forget, at least a batch of it. settings: `config.attacks`. seed: that draws the
      facts.
    program: from `learner`.

  Returns:
    {"rows": that were learnt, "MRR": {steps: on the rows of all other facts}}, of 0 steps too.
  """
  rows = setup.records["forget"]
  some = drawn(facts, max(settings.batch_size, round(share * len(rows))), seed)
  rest = np.setdiff1d(np.arange(len(rows)), some)
  data = setup.data._replace(records={**setup.records, "forget": Rows(rows, some)})
  state = train.start_state(params, program.tx, setup.mesh, program.layout)
  mrr = lambda params: metrics.mean_reciprocal_rank(evaluator.forget_ranks(params)[rest])
  found = {0: mrr(params)}
  with contextlib.closing(
    unlearning_batches(
      data,
      settings.batch_size,
      image_size=setup.model.sizes.image_size,
      seed=setup.config.seed,
      threads=setup.config.reader_threads,
    )
  ) as batches:
    for now, batch in enumerate(itertools.islice(batches, max(settings.steps)), start=1):
      state, _ = program.step(state, params, sharding.put_batch(batch, setup.mesh))
      if now in settings.steps:
        found[now] = mrr(state.params)
  return {"rows": len(some), "MRR": found}


def drawn(facts, count, seed):
  """Numbers of the rows of facts that are drawn until they have `count` rows."""
  known = list(dict.fromkeys(facts))
  rows_of = {each: [] for each in known}
  for row, each in enumerate(facts):
    rows_of[each].append(row)
  out = []
  for number in np.random.default_rng(seed).permutation(len(known)):
    if len(out) >= count:
      break
    out += rows_of[known[number]]
  return np.array(sorted(out))
