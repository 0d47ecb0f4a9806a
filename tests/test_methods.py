"""Every method keeps the trainer's contract, and each does what its name says."""

import contextlib
import inspect
import re

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from little import STAND_IN, half, optimizer_settings, sgd_settings
from methodruns import BATCHES, COMPOSED, ONE, PARAMS, STEPS, Run, make, whole_run

from salmu_jax import losses, train
from salmu_jax.data import pipeline
from salmu_jax.errors import InputError
from salmu_jax.methods import METHODS, base
from salmu_jax.runtime import sharding
from salmu_jax.train import checkpoint, optimizers

EIGHT = sharding.make_mesh()


def types(tree):
  return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("name", (*METHODS, *COMPOSED))
def test_the_step_compiles_once_keeps_the_states_types_moves_and_stays_finite(name):
  run, after, metrics = whole_run(name)
  assert run.step._cache_size() == 1
  assert types(after) == types(run.start) == types(run.fresh)
  moved = optax.tree.norm(optax.tree.sub(after.params, PARAMS))
  assert np.isfinite(moved) and moved > 0
  assert all(np.isfinite(value) for row in metrics for value in row.values())


@pytest.mark.parametrize("name", (*METHODS, *COMPOSED))
def test_eight_devices_give_what_one_gives(name):
  assert EIGHT.size == 8
  _, alone, metrics = whole_run(name)
  run = Run(name, EIGHT)
  together, same_metrics = run.walk(run.start, BATCHES)
  for a, b in zip(metrics, same_metrics, strict=True):
    assert a == pytest.approx(b, rel=1e-4, abs=2e-5)
  for a, b in zip(*map(jax.tree.leaves, (alone.params, together.params)), strict=True):
    np.testing.assert_allclose(a, np.asarray(b), rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("name", (*METHODS, *COMPOSED))
def test_a_run_resumed_from_a_checkpoint_ends_with_the_same_bits(name, tmp_path):
  run, whole, _ = whole_run(name)
  half, _ = run.walk(run.start, BATCHES[:2])
  with (
    checkpoint.Checkpoints(tmp_path) as checkpoints,
    contextlib.closing(pipeline.start(grain.MapDataset.range(8), 2)) as rows,
  ):
    checkpoints.save(2, half, rows)
    checkpoints.wait()
    assert checkpoint.any_in(tmp_path)
    # What was measured comes back with the checkpoint; it is not measured again.
    restored, _, _ = checkpoints.restore(jax.tree.map(jnp.copy, run.fresh), rows)
  resumed, _ = run.walk(restored, BATCHES[2:])
  equal(resumed, whole)


@pytest.mark.parametrize("name", (*METHODS, *COMPOSED))
def test_a_methods_transformation_takes_foreign_arguments_and_keeps_bfloat16(name):
  method = make(name, optimizers.make_optimizer(optimizer_settings(), STEPS))
  tx = optax.with_extra_args_support(method.tx)

  def call(params, grads):
    return tx.update(grads, tx.init(params), params, retain_grads=PARAMS, anything=3)

  for dtype in (jnp.float32, jnp.bfloat16):
    params = optax.tree.cast(PARAMS, dtype)
    updates, state = jax.eval_shape(call, params, params)  # the retain gradient stays in float32
    assert types(updates) == types(params)
    assert types(state) == types(jax.eval_shape(tx.init, params))


@pytest.mark.parametrize("name", METHODS)
def test_every_make_is_short_and_says_its_source_what_it_reads_and_what_it_moves(name):
  source, doc = inspect.getsource(METHODS[name]), inspect.getdoc(METHODS[name])
  assert len(source.splitlines()) <= 40
  assert re.search(r"\bReads\s", doc) and re.search(r"\bMoves\s", doc)
  assert re.search(r"arXiv|AAAI|CVPR|ICLR|TMLR|own", doc)


@pytest.mark.parametrize("name", METHODS)
def test_an_argument_out_of_its_range_is_refused_by_name(name):
  arguments = base.arguments(METHODS[name])
  for argument in arguments:
    for wrong in (-3, "much", float("nan")):
      with pytest.raises(InputError, match=f"^{argument}( = .*must be|: unknown name)"):
        make(name, optax.sgd(1.0), **{argument: wrong})


def test_arguments_that_only_the_run_can_know_are_no_arguments_of_a_config():
  assert base.arguments(METHODS["descent_to_delete"]) == ["sigma", "robust"]


def direction(name, forget, retain, args=None):
  """The update of a method under plain gradient descent."""
  method = base.build(METHODS[name], optax.sgd(1.0), args or {}, steps=1, seed=0)
  tx = optax.with_extra_args_support(method.tx)
  params = jax.tree.map(jnp.ones_like, forget)
  return tx.update(forget, tx.init(params), params, retain_grads=retain)[0]


F = {"a": jnp.array([0.3, -0.1]), "b": jnp.array(0.2)}
R = {"a": jnp.array([-1.0, 2.0]), "b": jnp.array(0.5)}


def tree(seed):
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  return {
    "text": {"kernel": draw(2, 2), "text_projection": draw(2, 2)},
    "visual": {"kernel": draw(3), "bias": draw(2)},
    "other": {"kernel": draw(4)},
  }


def outcome(name, forget, retain):
  """The parameters after five steps with these gradients, and a pass of them for `prepares`.

  An even number would undo what rewind_to_delete has gone back along constant gradients.
  """
  method = base.build(METHODS[name], optax.sgd(0.1), {}, steps=5, seed=0)
  tx, params = optax.with_extra_args_support(method.tx), tree(0)
  state = tx.init(params)
  for prepare in method.prepares:
    state = prepare(state, lambda: iter([{"forget": forget, "retain": retain}]))
  update = jax.jit(lambda state, params: tx.update(forget, state, params, retain_grads=retain))
  for _ in range(5):
    updates, state = update(state, params)
    params = optax.apply_updates(params, updates)
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)])


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_truly_which_halves_its_outcome_depends_on(name):
  reads = base.build(METHODS[name], optax.sgd(0.1), {}, steps=5, seed=0).reads
  usual = outcome(name, tree(22), tree(2))
  for read, others in (
    ("forget", [outcome(name, tree(seed), tree(2)) for seed in range(3, 13)]),
    ("retain", [outcome(name, tree(22), tree(seed)) for seed in range(3, 13)]),
  ):
    depends = any(not np.allclose(usual, other, rtol=1e-6) for other in others)
    assert depends == (read in reads), read


def same(a, b):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


def test_finetune_ignores_the_forget_gradient_even_a_broken_one():
  broken = jax.tree.map(lambda x: x * jnp.nan, F)
  same(direction("finetune", broken, R), jax.tree.map(jnp.negative, R))


def test_negative_gradient_descends_on_the_loss_turned_round_and_ignores_retain():
  same(direction("negative_gradient", F, R), jax.tree.map(jnp.negative, F))
  assert METHODS["negative_gradient"](optax.sgd(1.0)).forget_loss is losses.ascent


def test_negative_gradient_is_clipped_at_its_norm():
  update = direction("negative_gradient", F, R, {"max_norm": 0.1})
  np.testing.assert_allclose(optax.tree.norm(update), 0.1, rtol=1e-5)


@pytest.mark.parametrize(
  "name", ["generic_captions", "shuffled_captions", "direct_similarity", "delete"]
)
def test_descent_methods_follow_the_forget_gradient_alone(name):
  same(direction(name, F, R), jax.tree.map(jnp.negative, F))


def test_vlunlearn_weighs_both_gradients():
  expected = jax.tree.map(lambda f, r: -(2 * f + 3 * r), F, R)
  same(direction("vlunlearn", F, R, {"forget": 2.0, "retain": 3.0}), expected)


@pytest.mark.parametrize("name", ["cliperase", "cliperase_zero", "delete_zero", "grad_diff"])
def test_the_forget_weight_scales_the_forget_gradient_alone(name):
  expected = jax.tree.map(lambda f, r: -(2 * f + r), F, R)
  same(direction(name, F, R, {"forget": 2.0}), expected)


def test_gradient_surgery_takes_out_the_conflict_and_then_adds_retain():
  flat = lambda t: np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)])
  f, r = flat(F), flat(R)
  assert f @ r < 0
  update = direction("gradient_surgery", F, R, {"retain": 0.5})
  np.testing.assert_allclose(flat(update), -(f - (f @ r) / (r @ r) * r + 0.5 * r), rtol=1e-5)


def loss_change(name, same_rows):
  """By how much a small step changes the loss of the retain half, per unit of its length."""
  tiny = optax.sgd(1e-3)
  method = base.build(METHODS[name], tiny, {}, steps=1, seed=0)
  batch = {"forget": same_rows, "retain": same_rows}
  gradients = train.jitted_gradients(STAND_IN, method, ONE)(PARAMS, batch)
  tx = optax.with_extra_args_support(method.tx)
  state = tx.init(PARAMS)
  for prepare in method.prepares:
    state = prepare(state, lambda: iter([gradients]))
  updates, _ = tx.update(gradients["forget"], state, PARAMS, retain_grads=gradients["retain"])
  loss = lambda p: losses.contrastive(train.embed(STAND_IN, p, same_rows))
  _, change = jax.jvp(loss, (PARAMS,), (updates,))
  return float(change)


def test_null_space_leaves_the_retain_loss_as_it_was_to_first_order_where_ascent_does_not():
  rows = half(1)  # the hardest case: forget what is to be kept
  assert loss_change("negative_gradient", rows) > 1e-4
  assert abs(loss_change("null_space", rows)) < 1e-7


@pytest.mark.parametrize(
  ("name", "argument", "value"),
  [
    ("task_vector", "coefficient", 0.0),
    ("negmerge", "coefficient", 0.0),
    ("fisher_noise", "alpha", 0.0),
    ("fisher_noise_quarter", "alpha", 0.0),
  ],
)
def test_an_edit_of_no_strength_returns_the_start(name, argument, value):
  method = base.build(METHODS[name], optax.sgd(0.1), {argument: value}, steps=4, seed=0)
  tx, params = optax.with_extra_args_support(method.tx), tree(0)
  state = tx.init(params)
  for _ in range(4):
    updates, state = tx.update(tree(1), state, params, retain_grads=tree(2))
    params = optax.apply_updates(params, updates)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, tree(0))


def test_salun_and_slug_leave_what_they_do_not_choose_bit_equal():
  unequal = lambda after: [
    np.asarray(a != b) for a, b in zip(*map(jax.tree.leaves, (PARAMS, after.params)), strict=True)
  ]
  moved = unequal(whole_run("salun")[1])
  assert 0 < sum(x.sum() for x in moved) <= 0.51 * sum(x.size for x in moved)
  assert sum(x.any() for x in unequal(whole_run("slug")[1])) == 1


def test_a_step_without_a_half_that_is_read_is_refused_and_one_that_is_not_read_is_not_missed():
  settings = optimizers.make_optimizer(sgd_settings(), STEPS)
  alone = {"forget": BATCHES[0]["forget"]}
  method = make("delete", settings)
  state = train.start_state(PARAMS, method.tx, ONE)
  _, metrics = jax.eval_shape(train.make_unlearn_step(STAND_IN, method), state, PARAMS, alone)
  assert set(metrics) == {"forget_loss", "update_norm"}
  method = make("grad_diff", settings)
  with pytest.raises(InputError, match="reads retain, but the batch has no 'retain' half"):
    jax.eval_shape(train.make_unlearn_step(STAND_IN, method), state, PARAMS, alone)


@pytest.mark.parametrize(("name", "half"), [("finetune", "retain"), ("delete", "forget")])
def test_a_half_without_a_loss_is_neither_embedded_nor_logged(name, half):
  method = make(name, optimizers.make_optimizer(sgd_settings(), STEPS))
  assert method.reads == (half,)
  rows = {"forget": {}, "retain": {}, half: BATCHES[0][half]}  # nothing that could be embedded
  state = train.start_state(PARAMS, method.tx, ONE)
  _, metrics = jax.eval_shape(train.make_unlearn_step(STAND_IN, method), state, PARAMS, rows)
  assert set(metrics) == {f"{half}_loss", "update_norm"}


def test_a_loss_that_compares_is_refused_without_a_reference_and_others_are_not():
  settings = optimizers.make_optimizer(sgd_settings(), STEPS)
  for name, comparing in (
    ("grad_diff", None),
    ("delete_zero", "retain"),
    ("npo", "forget"),
    ("cliperase", "retain"),  # one term of two compares
  ):
    method = make(name, settings)
    state = train.start_state(PARAMS, method.tx, ONE)
    step = train.make_unlearn_step(STAND_IN, method)
    if comparing is None:
      jax.eval_shape(step, state, None, BATCHES[0])
    else:
      with pytest.raises(
        InputError, match=f"The {comparing} loss compares with the starting model"
      ):
        jax.eval_shape(step, state, None, BATCHES[0])


@pytest.fixture(scope="module")
def learning():
  """name -> metrics of eight steps of Adam on one batch."""

  def metrics(name):
    method = make(name, optimizers.make_optimizer(optimizer_settings(), 8))
    state, rows = train.start_state(PARAMS, method.tx, ONE), []
    step = jax.jit(train.make_unlearn_step(STAND_IN, method))
    for _ in range(8):
      state, row = step(state, PARAMS, BATCHES[0])
      rows.append(jax.device_get(row))
    return rows

  return metrics


@pytest.mark.parametrize(
  ("name", "half"),
  [
    ("direct_similarity", "forget"),
    ("vlunlearn", "forget"),
    ("delete_zero", "forget"),
    ("npo", "forget"),
    ("negative_gradient", "forget"),
    ("finetune", "retain"),
  ],
)
def test_repeated_steps_bring_the_loss_down(name, half, learning):
  metrics = learning(name)
  assert metrics[-1][f"{half}_loss"] < metrics[0][f"{half}_loss"]
