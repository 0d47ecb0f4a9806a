"""The relearning attack: a few forget pairs are learnt again; do the others come back?"""

import contextlib
import functools
import itertools

import jax
import numpy as np
import optax

from configs import default
from salmu_jax import losses, optimizers, stages, train, transforms
from salmu_jax import mesh as mesh_lib
from salmu_jax.data.records import Rows
from salmu_jax.evaluate import metrics
from salmu_jax.methods.base import Method


def relearn(setup, evaluator, params, share, settings, seed):
  """MRR on the rest of forget after a share of it has been learnt again, by number of steps.

  Contrastive loss on that share and on retain, as an attacker would who has both, with AdamW.

  Args:
    setup: stages.Setup. evaluator: the Evaluator. params: of the attacked model.
    share: of forget, at least a batch of it. settings: `config.attacks`. seed: that draws the share.

  Returns:
    {steps: MRR}; of 0 steps too.
  """
  rows = setup.records["forget"]
  count = max(settings.batch_size, round(share * len(rows)))
  some = np.random.default_rng(seed).permutation(len(rows))[:count]
  rest = np.setdiff1d(np.arange(len(rows)), some)
  attacked = setup._replace(records={**setup.records, "forget": Rows(rows, some)})
  tx, step = _learning(setup.model, setup.mesh, settings.learning_rate)
  state = train.start_state(params, tx, setup.mesh)
  mrr = lambda params: metrics.mean_reciprocal_rank(evaluator.forget_ranks(params)[rest])
  found = {0: mrr(params)}
  with contextlib.closing(stages.unlearning_batches(attacked, settings)) as batches:
    for now, batch in enumerate(itertools.islice(batches, max(settings.steps)), start=1):
      state, _ = step(state, None, mesh_lib.put_batch(batch, setup.mesh))
      if now in settings.steps:
        found[now] = mrr(state.params)
  return found


@functools.cache
def _learning(model, mesh, rate):
  """(transformation, jitted step) of learning forget and retain, compiled once for all models."""
  settings = default.optimizer(rate)
  tx = optax.chain(transforms.add_retain(1.0), optimizers.OPTIMIZERS["adamw"](settings, rate))
  step = train.make_unlearn_step(model, Method(losses.contrastive, losses.contrastive, tx))
  return tx, jax.jit(step, out_shardings=mesh_lib.replicated(mesh))
