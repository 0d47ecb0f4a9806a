"""Steps on many devices or in parts do what one device does at once: sharded, accumulated,
recomputed.
"""

import contextlib

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from little import (
  INIT,
  SIZES,
  STAND_IN,
  half,
  optimizer_settings,
  sgd_settings,
  stand_in_params,
  unlearning_batch,
)

from salmu_jax import losses, train
from salmu_jax.data import pipeline
from salmu_jax.methods import METHODS, base, robust
from salmu_jax.models.clip import CLIP
from salmu_jax.runtime import sharding
from salmu_jax.train import accumulate, checkpoint, optimizers, writer

ONE, EIGHT = sharding.make_mesh(jax.devices()[:1]), sharding.make_mesh()
TX = optax.sgd(1e-2)
# Of the stand-in, whose `proj` kernels have 8 columns and the word table 12, which eight do not
# divide.
RULES = ((r"proj/kernel$|projection$", ("data",)), (".*", ()))


def pair(seed, rows=32):
  batch = half(seed, rows)
  return {"image": batch["image"], "text": batch["text"]}


def pretrained(mesh, model=STAND_IN, params=None, tx=TX, loss="contrastive", rules=None, parts=1):
  """(parameters, metrics) after three steps."""
  params = stand_in_params() if params is None else params
  layout = train.state_layout(params, tx, mesh, rules or sharding.REPLICATED)
  objective = train.OBJECTIVES[loss](mesh)
  step = train.jitted_pretrain_step(model, tx, mesh, objective, layout=layout, accumulate=parts)
  state = train.start_state(params, tx, mesh, layout)
  for seed in range(3):
    state, metrics = step(state, sharding.put_batch(pair(seed), mesh))
  assert step._cache_size() == 1
  for array, where in zip(*map(jax.tree.leaves, (state, layout)), strict=True):
    assert array.sharding.is_equivalent_to(where, array.ndim)
  return jax.device_get((state.params, metrics))


def assert_same(actual, expected, atol=2e-6):
  for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


@pytest.fixture(scope="module")
def alone():
  return pretrained(ONE)


@pytest.mark.parametrize(
  "how",
  [
    {"rules": RULES},
    {"loss": "contrastive_ring"},
    {"parts": 4},
    {"parts": 2, "rules": RULES, "loss": "contrastive_ring"},
  ],
  ids=["split parameters", "ring", "in four parts", "all at once"],
)
def test_pretraining_is_the_same_however_it_is_spread(how, alone):
  assert_same(pretrained(EIGHT, **how), alone)


def test_the_sigmoid_loss_learns_its_bias_and_is_the_same_on_a_ring():
  model = CLIP(SIZES, bias=True)
  params = INIT(model, 0)
  assert params["logit_bias"] == -10 and params["logit_scale"] == np.float32(np.log(10))
  plain = pretrained(ONE, model, params, loss="sigmoid")
  assert plain[0]["logit_bias"] != -10
  assert_same(pretrained(EIGHT, model, params, loss="sigmoid_ring", parts=2), plain)


def test_parts_give_the_loss_of_the_whole_batch_where_the_mean_over_parts_does_not():
  params, batch = stand_in_params(), pair(0, 16)
  embed = lambda p, b: train.embed(STAND_IN, p, b)
  loss = lambda z: (losses.contrastive(z), z.text)
  (whole, text), grads = accumulate.value_and_grad(loss, embed, params, batch, 1)
  (value, order), in_parts = accumulate.value_and_grad(loss, embed, params, batch, 4)
  np.testing.assert_allclose(value, whole, rtol=1e-6)
  np.testing.assert_allclose(order, text, atol=1e-6)  # the rows come back in their order
  assert_same(in_parts, grads, atol=1e-6)
  parts = [jax.tree.map(lambda x, k=k: x[k::4], batch) for k in range(4)]
  mean = np.mean([losses.contrastive(embed(params, part)) for part in parts])
  assert abs(mean - whole) > 0.1


@pytest.mark.parametrize(
  ("name", "args"),
  [
    *((name, {}) for name in ("anchored", "finetune", "delete", "vlunlearn", "gradient_surgery")),
    *(("anchored", {"robust": way}) for way in robust.WAYS),
  ],
)
def test_unlearning_is_the_same_in_parts_on_split_parameters(name, args):
  outcomes = []
  for mesh, rules, parts in ((ONE, sharding.REPLICATED, 1), (EIGHT, RULES, 2)):
    method = base.build(
      METHODS[name], optimizers.make_optimizer(sgd_settings(), 3), args, steps=3, seed=0
    )
    params = stand_in_params()
    layout = train.state_layout(params, method.tx, mesh, rules)
    reference = jax.device_put(params, layout.params)
    step = train.jitted_unlearn_step(STAND_IN, method, mesh, layout=layout, accumulate=parts)
    state = train.start_state(params, method.tx, mesh, layout)
    for seed in range(3):
      batch = sharding.put_batch(unlearning_batch(seed), mesh)
      state, metrics = step(state, reference, batch)
    outcomes.append(jax.device_get((state.params, metrics)))
  assert_same(*outcomes)


def test_split_parameters_take_less_memory_on_each_device_and_no_rows_move_for_parts():
  params = jax.eval_shape(stand_in_params)
  tx = optimizers.make_optimizer(optimizer_settings(), 3)

  def compiled(rules, parts):
    layout = train.state_layout(params, tx, EIGHT, rules)
    step = train.jitted_pretrain_step(STAND_IN, tx, EIGHT, layout=layout, accumulate=parts)
    shaped = lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
    state = jax.tree.map(
      shaped, jax.eval_shape(lambda p: train.start_state(p, tx, EIGHT, layout), params), layout
    )
    batch = jax.tree.map(lambda x: shaped(x, sharding.over_batch(EIGHT)), pair(0))
    return step.lower(state, batch).compile()

  whole, split = compiled(sharding.REPLICATED, 1), compiled(RULES, 1)
  size = lambda program: program.memory_analysis().argument_size_in_bytes
  assert size(split) < size(whole) / 2
  assert whole.memory_analysis().alias_size_in_bytes > 0  # the state is donated
  text = compiled(sharding.REPLICATED, 4).as_text()
  images = [line for line in text.splitlines() if "all-gather" in line and "u8[" in line]
  assert not images and "all-to-all" not in text


def test_a_checkpoint_of_four_devices_goes_on_on_two_and_on_one(tmp_path):
  def fit(folder, devices, steps):
    mesh = sharding.make_mesh(jax.devices()[:devices])
    params = stand_in_params()
    layout = train.state_layout(params, TX, mesh, RULES)
    step = train.jitted_pretrain_step(STAND_IN, TX, mesh, layout=layout)
    log = writer.Writer(folder, tensorboard=False)
    rows = grain.MapDataset.range(1000).map(lambda i: jax.tree.map(lambda x: x[0], pair(int(i), 1)))
    with (
      contextlib.closing(pipeline.start(rows, 8)) as stream,
      checkpoint.Checkpoints(folder / "checkpoints") as checkpoints,
    ):
      state = train.fit(
        step,
        train.start_state(params, TX, mesh, layout),
        stream,
        train.Schedule(steps, 1, 2),
        checkpoints=checkpoints,
        writer=log,
        progress=lambda done, row: None,
      )
    assert jax.tree.leaves(state)[1].sharding.mesh.size == devices
    return jax.device_get(state)

  (tmp_path / "whole").mkdir()
  whole = fit(tmp_path / "whole", 4, 6)
  for devices in (2, 1):
    folder = tmp_path / str(devices)
    folder.mkdir()
    fit(folder, 4, 4)
    assert_same(fit(folder, devices, 6), whole)


def test_bfloat16_compute_keeps_float32_weights_moments_embeddings_and_loss():
  model, tx = CLIP(SIZES, jnp.bfloat16), optimizers.make_optimizer(optimizer_settings(), 3)
  params = jax.eval_shape(lambda: INIT(model, 0))
  z = jax.eval_shape(lambda p: train.embed(model, p, pair(0)), params)
  assert {x.dtype for x in jax.tree.leaves(z)} == {jnp.dtype("float32")}
  state = jax.eval_shape(lambda p: train.start_state(p, tx, ONE), params)
  step = train.make_pretrain_step(model, tx, train.OBJECTIVES["contrastive"](ONE))
  after, metrics = jax.eval_shape(step, state, pair(0))
  floating = [x.dtype for x in jax.tree.leaves((after, metrics)) if x.dtype != jnp.int32]
  assert set(floating) == {jnp.dtype("float32")}
  inside = str(jax.make_jaxpr(step)(state, pair(0)))
  assert "bf16" in inside and "f32[32,32]" in inside  # towers, and the logits
