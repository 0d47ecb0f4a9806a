"""The study of the baselines: its engine against the trainer's step, its cut, its choice."""

import jax
import optax
import pytest
from little import MODEL, PARAMS, optimizer_settings, unlearning_batch

from experiments.baselines.engine import Engine, Program
from salmu_jax import mesh as mesh_lib
from salmu_jax import train
from salmu_jax.methods import METHODS, base

ONE = mesh_lib.make_mesh(jax.devices()[:1])
BATCHES = [unlearning_batch(seed) for seed in range(4)]
# Not Adam: the gradient of a key's bias is zero but for rounding, which Adam would blow up.
SETTINGS = optimizer_settings(1e-2)
SETTINGS.name = "sgd"


@pytest.fixture(scope="module")
def engine():
  engine = Engine(MODEL, PARAMS, ONE)
  return engine, engine.reference(BATCHES)


@pytest.mark.parametrize("name", METHODS)
def test_the_studys_runs_end_where_the_trainers_do(name, engine):
  engine, references = engine
  program = Program(name, {}, SETTINGS, len(BATCHES), seed=0)
  ours = engine.run(program, SETTINGS, BATCHES, references, 2)

  optimizer = train.make_optimizer(SETTINGS, len(BATCHES))
  method = base.build(METHODS[name], optimizer, {}, steps=len(BATCHES), seed=0)
  state = train.start_state(PARAMS, method.tx, ONE)
  if method.prepare:
    gradients = train.jitted_gradients(MODEL, method, ONE)
    passing = lambda: (gradients(PARAMS, batch) for batch in BATCHES[:2])
    state = state.replace(opt_state=method.prepare(state.opt_state, passing))
  step = train.jitted_unlearn_step(MODEL, method, ONE)
  for batch in BATCHES:
    state, _ = step(state, PARAMS, batch)

  moved = optax.tree.norm(optax.tree.sub(state.params, PARAMS))
  apart = optax.tree.norm(optax.tree.sub(state.params, ours))
  assert apart <= 2e-3 * moved + 1e-6
