"""Optimizers: what they move and by how much, and their learning rates as data."""

import functools
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from little import PARAMS, STAND_IN, half, optimizer_settings, stand_in_params

from salmu_jax import train, transforms
from salmu_jax.errors import InputError
from salmu_jax.models import leaves
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers
from salmu_jax.transforms.rates import ScaleByRatesState


def test_the_learning_rate_warms_up_and_decays_to_its_end():
  settings = optimizer_settings(0.5)
  settings.update(warmup=0.5, end=0.2, b1=0.0, b2=0.0, eps=0.0)
  tx = optimizers.make_optimizer(settings, 8)
  params = {"kernel": jnp.ones(())}
  state, sizes = tx.init(params), []
  for _ in range(9):
    updates, state = tx.update({"kernel": jnp.ones(())}, state, params)
    sizes.append(-float(updates["kernel"]))
  np.testing.assert_allclose(sizes[:5], [0.0, 0.125, 0.25, 0.375, 0.5], atol=1e-6)
  np.testing.assert_allclose(sizes[8], 0.1, rtol=1e-5)


def test_weight_decay_spares_gains_biases_the_class_token_and_the_logit_scale():
  mask = leaves.decayed(PARAMS)
  flat = {
    jax.tree_util.keystr(path, simple=True, separator="/"): value
    for path, value in jax.tree_util.tree_flatten_with_path(mask)[0]
  }
  assert flat["visual/proj"] and flat["text/token_embedding/embedding"]
  assert flat["visual/transformer/block_0/in_proj/kernel"] and flat["text/positional_embedding"]
  spared = {name for name, decayed in flat.items() if not decayed}
  assert {"logit_scale", "visual/class_embedding", "visual/ln_pre/scale"} <= spared
  assert all(n.endswith(("scale", "bias", "class_embedding")) for n in spared)


def test_muon_orthogonalises_the_matrices_layer_by_layer_and_leaves_the_rest_to_adam():
  draw = np.random.default_rng(0)
  shapes = {
    "c_fc": {"kernel": (2, 4, 9)},
    "conv1": {"kernel": (2, 2, 3, 4)},
    "token_embedding": {"embedding": (5, 4)},
    "logit_scale": {"logit_scale": ()},
  }
  params = jax.tree.map(
    lambda shape: jnp.asarray(draw.normal(size=shape), jnp.float32),
    shapes,
    is_leaf=lambda x: isinstance(x, tuple),
  )
  settings = optimizer_settings()
  settings.weight_decay = 0.0
  adam = optax.adamw(0.01, settings.b1, settings.b2, weight_decay=0.0, nesterov=True)
  muon = optax.chain(optimizers.OPTIMIZERS["muon"](settings), optax.scale(0.01))
  chains = {"muon": muon, "adam": adam}
  first = lambda tx: jax.jit(lambda p: tx.update(p, tx.init(p), p)[0])(params)
  updates = {name: first(tx) for name, tx in chains.items()}
  for layer in np.asarray(updates["muon"]["c_fc"]["kernel"]):
    sizes = np.linalg.svd(layer, compute_uv=False) / (0.01 * 0.2 * np.sqrt(9))
    assert 0.6 < sizes.min() and sizes.max() < 1.3
  for name in ("conv1", "token_embedding", "logit_scale"):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
      updates["muon"][name],
      updates["adam"][name],
    )


SCHEDULES = [
  (7e-4, 0.05, 0.0, 745),
  (1e-3, 0.1, 0.0, 250),
  (3e-3, 0.3, 0.1, 333),
  (1e-5, 0.0, 0.07, 211),
  (2e-3, 0.5, 1.0, 257),
]


def compare_tables():
  """Raises AssertionError unless tables have the bits of schedules that are part of a step."""
  for rate, warmup, end, steps in SCHEDULES:
    settings = optimizers.settings(rate, warmup=warmup, end=end)
    plain = optax.scale_by_learning_rate(optimizers.make_schedule(settings, steps))
    update, state, rates = jax.jit(plain.update), plain.init(None), []
    for _ in range(steps + 5):
      updates, state = update(jnp.ones(3), state)
      rates.append(-np.asarray(updates)[0])
    table = functools.partial(optimizers.rate_table, settings, steps)
    np.testing.assert_array_equal(table(steps + 5), rates)
    np.testing.assert_array_equal(table(steps + 1), rates[: steps + 1])


def test_the_table_has_the_bits_of_the_schedule_compiled_into_a_step():
  here = pathlib.Path(__file__).parent
  done = subprocess.run(
    [sys.executable, "-c", "import test_optimizers; test_optimizers.compare_tables()"],
    cwd=here,
    # The programs that users get, which are not compiled as those of tests are.
    env={**os.environ, "XLA_FLAGS": "", "PYTHONPATH": f"{here.parent}{os.pathsep}{here}"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr


def plain_optax(settings, steps):
  """The optimizer as optax alone makes it, its schedule compiled into the step."""
  rate, decay = optimizers.make_schedule(settings, steps), settings.weight_decay
  match settings.name:
    case "adamw":
      moments = dict(b1=settings.b1, b2=settings.b2, eps=settings.eps)
      return optax.adamw(rate, **moments, weight_decay=decay, mask=leaves.decayed)
    case "sgd":
      decayed = optax.add_decayed_weights(decay, mask=leaves.decayed)
      return optax.chain(decayed, optax.sgd(rate, momentum=settings.b1))
    case "muon":
      return optax.contrib.muon(
        rate,
        weight_decay=decay,
        adam_b1=settings.b1,
        adam_b2=settings.b2,
        muon_weight_dimension_numbers=optimizers._matrices,
        consistent_rms=0.2,
      )


def trained(tx, mesh, steps, state=None):
  """Parameters of the stand-in after pretraining steps."""
  state = state or train.start_state(stand_in_params(), tx, mesh)
  step = train.jitted_pretrain_step(STAND_IN, tx, mesh)
  for seed in range(steps):
    pair = {key: half(seed)[key] for key in ("image", "text")}
    state, _ = step(state, sharding.put_batch(pair, mesh))
  return state.params


def equal(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_rates_from_the_table_train_to_the_same_bits_as_plain_optax(name, devices):
  settings = optimizers.settings(1e-2, name=name, warmup=0.2, end=0.1, weight_decay=0.1)
  mesh = sharding.make_mesh(jax.devices()[:devices])
  ours = trained(optimizers.make_optimizer(settings, 12), mesh, 12)
  equal(ours, trained(plain_optax(settings, 12), mesh, 12))


def tables(opt_state):
  is_table = lambda x: isinstance(x, ScaleByRatesState)
  return [x for x in jax.tree.leaves(opt_state, is_leaf=is_table) if is_table(x)]


KERNEL = {"kernel": jnp.ones((2, 3))}


def test_a_state_with_the_rates_of_another_run_is_the_state_of_that_run():
  run = optimizers.settings(1e-3, end=0.5)
  tx = optimizers.make_optimizer(optimizers.settings(1e-2), 40)
  state = tx.init(KERNEL)
  replaced = optimizers.with_rates(state, run, 40)
  equal(replaced, optimizers.make_optimizer(run, 40).init(KERNEL))
  equal(state, tx.init(KERNEL))  # which is as it was


def test_a_run_longer_than_its_table_is_refused():
  state = optimizers.make_optimizer(optimizers.settings(1e-2), 20).init(KERNEL)
  with pytest.raises(InputError, match=r"table of 21 learning rates is too short for.* 40 steps"):
    optimizers.with_rates(state, optimizers.settings(1e-2), 40)


def test_a_chain_without_an_optimizer_has_no_rates_and_keeps_its_state():
  state = transforms.dampen(1.0, 1.0, 2).init(KERNEL)
  equal(optimizers.with_rates(state, optimizers.settings(1e-2), 40), state)


def test_negmerge_restarts_its_optimizer_with_the_rates_that_were_put_in():
  run = optimizers.settings(1e-1)
  tx = optimizers.make_optimizer(optimizers.settings(1e-2), 4)
  merged = transforms.reflect_merged(tx, 1.0, 2, 4)
  state = optimizers.with_rates(merged.init(KERNEL), run, 4)
  update = jax.jit(merged.update)
  for _ in range(3):
    _, state = update(KERNEL, state, KERNEL)
  (table,) = tables(state)
  np.testing.assert_array_equal(table.rates, optimizers.rate_table(run, 4, 5))
  assert table.count == 1  # the first step of the second leg
