"""Every method keeps the trainer's contract, and each does what its name says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from little import MODEL, PARAMS, optimizer_settings, unlearning_batch

from salmu_jax import mesh as mesh_lib
from salmu_jax import train, transforms
from salmu_jax.methods import METHODS

BATCH = unlearning_batch()
ONE = mesh_lib.make_mesh(jax.devices()[:1])


def start(name, mesh=ONE, optimizer=None):
  optimizer = optimizer or train.make_optimizer(optimizer_settings(), total_steps=10)
  method = METHODS[name](optimizer)
  return method, train.start_state(PARAMS, method.tx, mesh)


def types(tree):
  return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.fixture(scope="module")
def after_eight_steps():
  """name -> (traces, state before, state after, metrics of each step)."""
  out = {}
  for name in METHODS:
    method, before = start(name)
    traces, rows = [], []

    def counted(*args, method=method, traces=traces):
      traces.append(1)
      return train.make_unlearn_step(MODEL, method)(*args)

    step, state = jax.jit(counted), before
    for _ in range(8):
      state, metrics = step(state, PARAMS, BATCH)
      rows.append(jax.device_get(metrics))
    out[name] = (len(traces), before, state, rows)
  return out


@pytest.mark.parametrize("name", METHODS)
def test_step_compiles_once_and_keeps_the_states_types(name, after_eight_steps):
  traces, before, after, _ = after_eight_steps[name]
  assert traces == 1
  assert types(after) == types(before)


@pytest.mark.parametrize("name", METHODS)
def test_step_moves_the_parameters_and_stays_finite(name, after_eight_steps):
  _, before, after, metrics = after_eight_steps[name]
  moved = optax.tree.norm(optax.tree.sub(after.params, before.params))
  assert np.isfinite(moved) and moved > 0
  assert all(np.isfinite(value) for row in metrics for value in row.values())


@pytest.mark.parametrize("name", METHODS)
def test_eight_devices_give_what_one_gives(name):
  eight = mesh_lib.make_mesh()
  assert eight.size == 8
  # Not Adam: the gradient of a key's bias is zero but for rounding, which Adam would blow up.
  states, sgd = [], optax.sgd(1e-3)
  for mesh in (ONE, eight):
    method, state = start(name, mesh, sgd)
    reference = jax.device_put(PARAMS, mesh_lib.replicated(mesh))
    step = train.jitted_unlearn_step(MODEL, method, mesh)
    for seed in range(2):
      batch = mesh_lib.put_batch(unlearning_batch(seed), mesh)
      state, metrics = step(state, reference, batch)
    states.append((state.params, metrics))
  for a, b in zip(*(jax.tree.leaves(jax.device_get(s)) for s in states), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", METHODS)
def test_methods_own_transformation_takes_foreign_extra_arguments(name):
  method, state = start(name)
  grads = jax.tree.map(jnp.ones_like, PARAMS)
  tx = optax.with_extra_args_support(method.tx)
  updates, _ = tx.update(grads, state.opt_state, state.params, retain_grads=grads, anything=3)
  assert types(updates) == types(state.params)


def direction(name, forget, retain, args=None):
  """The update of a method under plain gradient descent."""
  method = METHODS[name](optax.sgd(1.0), **(args or {}))
  tx = optax.with_extra_args_support(method.tx)
  return tx.update(forget, tx.init(forget), forget, retain_grads=retain)[0]


F = {"a": jnp.array([0.3, -0.1]), "b": jnp.array(0.2)}
R = {"a": jnp.array([-1.0, 2.0]), "b": jnp.array(0.5)}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_truly_which_halves_its_update_depends_on(name):
  method = METHODS[name](optax.sgd(1.0))
  base = direction(name, F, R)
  twice = lambda tree: jax.tree.map(lambda x: -2 * x, tree)
  for half, other in (
    ("forget", direction(name, twice(F), R)),
    ("retain", direction(name, F, twice(R))),
  ):
    moved = any(
      not np.allclose(a, b) for a, b in zip(*map(jax.tree.leaves, (base, other)), strict=True)
    )
    assert moved == (half in method.reads)


def same(a, b):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


def test_finetune_ignores_the_forget_gradient_even_a_broken_one():
  broken = jax.tree.map(lambda x: x * jnp.nan, F)
  same(direction("finetune", broken, R), jax.tree.map(jnp.negative, R))


def test_negative_gradient_ascends_on_forget_and_ignores_retain():
  same(direction("negative_gradient", F, R), F)


def test_negative_gradient_is_clipped_at_its_norm():
  update = direction("negative_gradient", F, R, {"max_norm": 0.1})
  np.testing.assert_allclose(optax.tree.norm(update), 0.1, rtol=1e-5)


@pytest.mark.parametrize("name", ["generic_captions", "direct_similarity"])
def test_descent_methods_follow_the_forget_gradient_alone(name):
  same(direction(name, F, R), jax.tree.map(jnp.negative, F))


def test_vlunlearn_weighs_both_gradients():
  expected = jax.tree.map(lambda f, r: -(2 * f + 3 * r), F, R)
  same(direction("vlunlearn", F, R, {"forget": 2.0, "retain": 3.0}), expected)


def test_add_retain_keeps_the_updates_dtype():
  tx = transforms.add_retain(2.0)
  updates = {"a": jnp.ones(2, jnp.bfloat16)}
  out, _ = tx.update(updates, tx.init(updates), retain_grads={"a": jnp.ones(2)}, foreign=None)
  assert out["a"].dtype == jnp.bfloat16
  np.testing.assert_array_equal(out["a"].astype(jnp.float32), [3.0, 3.0])


@pytest.mark.parametrize("name", ["generic_captions", "direct_similarity", "vlunlearn"])
def test_repeated_steps_bring_the_forget_loss_down(name, after_eight_steps):
  _, _, _, metrics = after_eight_steps[name]
  assert metrics[-1]["forget_loss"] < metrics[0]["forget_loss"]


def test_repeated_steps_of_the_negative_gradient_bring_the_forget_loss_up(after_eight_steps):
  _, _, _, metrics = after_eight_steps["negative_gradient"]
  assert metrics[-1]["forget_loss"] > metrics[0]["forget_loss"]


def test_repeated_steps_of_finetuning_bring_the_retain_loss_down(after_eight_steps):
  _, _, _, metrics = after_eight_steps["finetune"]
  assert metrics[-1]["retain_loss"] < metrics[0]["retain_loss"]
