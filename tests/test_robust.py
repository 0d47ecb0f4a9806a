"""Robustness to relearning: each way does what its formula says, and nothing at strength 0."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from little import STAND_IN, unlearning_batch
from methodruns import BATCHES, ONE, PARAMS

from salmu_jax import losses, train
from salmu_jax.errors import InputError
from salmu_jax.methods import METHODS, base, robust
from salmu_jax.models import leaves

NAMES = sorted(robust.WAYS)


def built(name, way, optimizer=None, steps=4, **args):
  args = args | ({} if way is None else {"robust": way})
  return base.build(METHODS[name], optimizer or optax.sgd(1.0), args, steps=steps, seed=0)


@functools.cache
def gradient(loss, half="forget"):
  """gradient(params, batch, reference) of a loss on a half of a batch."""

  def value(params, batch, reference):
    z, target = (train.embed(STAND_IN, p, batch[half]) for p in (params, reference))
    return loss(z, target)

  return jax.jit(jax.grad(value))


def walk(method, batches, params=PARAMS):
  """[(state, metrics) after each batch], of the compiled step."""
  step = train.jitted_unlearn_step(STAND_IN, method, ONE)
  state, after = train.start_state(params, method.tx, ONE), []
  for batch in batches:
    state, metrics = step(jax.tree.map(jnp.copy, state), params, batch)
    after.append((state, metrics))
  return after


def near(a, b, **tolerance):
  tolerance = {"rtol": 1e-4, "atol": 1e-6} | tolerance
  jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerance), a, b)


def equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def less(params, *gradients):
  return jax.tree.map(lambda p, *g: p - sum(g), params, *gradients)


def test_sam_takes_the_forget_gradient_uphill_and_the_retain_gradient_where_the_model_is():
  ((state, _),) = walk(built("grad_diff", ("sam", {"rho": 0.5})), BATCHES[:1])
  g = gradient(losses.ascent)(PARAMS, BATCHES[0], PARAMS)
  length = np.sqrt(sum(float(jnp.sum(jnp.square(x))) for x in jax.tree.leaves(g)))
  uphill = jax.tree.map(lambda p, x: p + 0.5 * x / length, PARAMS, g)
  forget = gradient(losses.ascent)(uphill, BATCHES[0], PARAMS)
  retain = gradient(losses.contrastive, "retain")(PARAMS, BATCHES[0], PARAMS)
  near(state.params, less(PARAMS, forget, retain))
  assert optax.tree.norm(optax.tree.sub(forget, g)) > 0.1 * length


def test_a_point_moves_what_forgets_and_neither_anchors_nor_the_image_tower():
  method = built("anchored", ("sam", {"rho": 0.5}))
  ((state, metrics),) = walk(method, BATCHES[:1])
  pair, near_by = losses.mismatched_target(), losses.surrogate_retention
  g = gradient(pair)(PARAMS, BATCHES[0], PARAMS)
  g = g | {"visual": jax.tree.map(jnp.zeros_like, g["visual"])}
  factor = 0.5 / optax.tree.norm(g)
  uphill = jax.tree.map(lambda p, x: p + factor * x, PARAMS, g)
  equal(uphill["visual"], PARAMS["visual"])
  forget = gradient(pair)(uphill, BATCHES[0], PARAMS)["text"]
  held = gradient(near_by)(PARAMS, BATCHES[0], PARAMS)["text"]
  retain = gradient(losses.text_retention, "retain")(PARAMS, BATCHES[0], PARAMS)["text"]
  expected = jax.tree.map(
    lambda p, f, h, r: p - (f + 4 * h + 2 * r), PARAMS["text"], forget, held, retain
  )
  near(state.params["text"], expected)
  equal(state.params["visual"], PARAMS["visual"])
  z, target = (train.embed(STAND_IN, p, BATCHES[0]["forget"]) for p in (uphill, PARAMS))
  np.testing.assert_allclose(metrics["forget_loss"], pair(z, target), rtol=1e-4)


@pytest.mark.parametrize("every", [1, 3])
def test_the_adversary_relearns_each_batch_and_is_forked_again_every_k_steps(every):
  method = built("grad_diff", ("adversary", {"learning_rate": 0.01, "every": every}),
                 optax.sgd(0.1), steps=5)  # fmt: skip
  batches = [unlearning_batch(seed) for seed in range(5)]
  params, optimizer = PARAMS, optax.adam(0.01, b2=0.98)
  for number, (state, _) in enumerate(walk(method, batches)):
    batch = batches[number]
    if number % every == 0:
      adversary, moments = params, optimizer.init(params)
    moved, moments = optimizer.update(
      gradient(losses.contrastive)(adversary, batch, PARAMS), moments
    )
    adversary = optax.apply_updates(adversary, moved)
    forget = gradient(losses.ascent)(adversary, batch, PARAMS)
    retain = gradient(losses.contrastive, "retain")(params, batch, PARAMS)
    params = less(params, *(jax.tree.map(lambda g: 0.1 * g, x) for x in (forget, retain)))
    near(state.opt_state.point.params, adversary, rtol=1e-3, atol=1e-4)
    near(state.params, params, rtol=1e-3, atol=1e-4)
  apart = optax.tree.norm(optax.tree.sub(adversary, params))
  assert apart > 0.1


def test_contexts_move_the_tokens_of_the_batch_no_further_than_the_radius_and_bring_pairs_back():
  radius, search = 0.5, 3
  point = built("delete", ("contexts", {"radius": radius, "search": search})).point
  relearn = lambda p: gradient(losses.contrastive)(p, BATCHES[0], PARAMS)
  where, _ = point.find(train.points.Gradients(None, relearn), PARAMS, optax.EmptyState())
  table = np.asarray(leaves.token_embedding(PARAMS))
  size, moved = radius * np.sqrt(np.mean(np.sum(table**2, axis=1))), table
  for _ in range(search):
    g = np.asarray(
      leaves.token_embedding(relearn(leaves.with_token_embedding(PARAMS, jnp.asarray(moved))))
    )
    norms = np.linalg.norm(g, axis=1, keepdims=True)
    moved = moved - np.where(norms > 1e-12, size / search * g / np.maximum(norms, 1e-12), 0)
  near(leaves.token_embedding(where), moved)
  far = np.linalg.norm(moved - table, axis=1)
  used = np.isin(np.arange(20), BATCHES[0]["forget"]["text"])
  assert far.max() <= size * 1.0001 and far[used].min() > 0.1 * size and not far[~used].any()
  equal(where | {"text": 0}, PARAMS | {"text": 0})
  clip = lambda p: losses.contrastive(train.embed(STAND_IN, p, BATCHES[0]["forget"]))
  assert clip(where) < clip(PARAMS) - 0.1
  ((state, _),) = walk(built("delete", ("contexts", {"radius": radius})), BATCHES[:1])
  near(state.params, less(PARAMS, gradient(losses.excluded_pair)(where, BATCHES[0], PARAMS)))


def test_undo_damages_the_text_tower_once_and_then_distils_the_model_before_it():
  alpha, beta = 0.4, 0.2
  way = ("undo", {"alpha": alpha, "beta": beta})
  plain = [state.params for state, _ in walk(built("npo", None, optax.sgd(0.1)), BATCHES)]
  states = [state for state, _ in walk(built("npo", way, optax.sgd(0.1)), BATCHES)]
  equal(states[0].params, plain[0])
  teacher, damaged = states[1].opt_state[-1].teacher, states[1].params
  near(teacher, plain[1])
  equal(damaged["visual"], plain[1]["visual"])
  projection = lambda params: np.asarray(params["text"]["text_projection"])
  noise = (projection(damaged) - (1 - alpha) * projection(teacher)) / (alpha * beta)
  limit = np.sqrt(6 / sum(noise.shape))
  assert 0.9 * limit < np.abs(noise).max() <= 1.0001 * limit and abs(noise.mean()) < 0.1 * limit
  forget = gradient(built("npo", None).forget_loss)
  for number, params in ((2, damaged), (3, states[2].params)):
    grads = forget(params, BATCHES[number], teacher)
    retain = gradient(losses.contrastive, "retain")(params, BATCHES[number], teacher)
    step = jax.tree.map(lambda f, r: 0.1 * (f + r), grads, retain)
    near(states[number].params, less(params, step), rtol=1e-3)
    equal(states[number].opt_state[-1].teacher, teacher)


def test_undo_shrinks_gains_and_biases_and_draws_other_noise_for_another_seed_or_layer():
  blocks = {"kernel": jnp.ones((2, 3, 3)), "scale": jnp.ones((2, 3))}
  params = {
    "text": {"bias": jnp.ones(3), "blocks": blocks},
    "visual": {"kernel": jnp.ones((3, 3))},
  }

  def damaged(seed):
    tx = robust.made(("undo", {"alpha": 0.5}), optax.sgd(0.0), True, steps=1, seed=seed).tx
    updates, _ = tx.update(params, tx.init(params), params)
    return optax.apply_updates(params, updates)

  one, other = damaged(0), damaged(1)
  equal(one, damaged(0))
  equal(one["visual"], params["visual"])
  near(
    (one["text"]["bias"], one["text"]["blocks"]["scale"]), (np.full(3, 0.5), np.full((2, 3), 0.5))
  )
  kernel = one["text"]["blocks"]["kernel"]
  assert np.all(kernel[0] != kernel[1]) and np.all(kernel != other["text"]["blocks"]["kernel"])


@pytest.mark.parametrize(
  "way",
  [
    ("sam", {"rho": 0.0}),
    ("adversary", {"learning_rate": 0.0, "every": 1}),
    ("contexts", {"radius": 0.0}),
    ("undo", {"alpha": 0.0}),
  ],
)
def test_a_way_without_strength_is_the_method_as_it_is_to_the_bit(way):
  ends = [walk(built("grad_diff", w, optax.sgd(0.1)), BATCHES)[-1] for w in (None, way)]
  equal(ends[0][0].params, ends[1][0].params)
  equal(ends[0][1], ends[1][1])


@pytest.mark.parametrize("name", sorted(robust.POINTS))
def test_anchored_with_a_way_without_strength_is_the_method_up_to_rounding(name):
  none = {"sam": {"rho": 0.0}, "contexts": {"radius": 0.0},
          "adversary": {"learning_rate": 0.0, "every": 1}}[name]  # fmt: skip
  ends = [
    walk(built("anchored", way, optax.sgd(0.1)), BATCHES)[-1][0] for way in (None, (name, none))
  ]
  near(ends[0].params, ends[1].params)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["npo", "salun", "munba"])
def test_any_method_that_forgets_can_be_robust_and_then_ends_elsewhere(method, name):
  ends = [walk(built(method, way, optax.sgd(0.1)), BATCHES)[-1][0] for way in (None, name)]
  difference = optax.tree.norm(optax.tree.sub(*(end.params for end in ends)))
  assert np.isfinite(difference) and difference > 0


def test_a_method_that_is_not_robust_has_no_state_for_it():
  assert built("anchored", None).point is None
  state = train.start_state(PARAMS, built("anchored", None).tx, ONE)
  assert not any(
    hasattr(x, "point") for x in jax.tree.leaves(state, is_leaf=lambda x: hasattr(x, "point"))
  )


@pytest.mark.parametrize(
  ("way", "message"),
  [
    ("sum", r"^robust: unknown name 'sum'.*sam"),
    (("sam", {"radius": 1.0}), r"^robust: sam: unknown name 'radius'.*rho"),
    (("sam", {"rho": -1.0}), r"^robust: sam: rho = -1\.0; it must be"),
    (("adversary", {"every": 0}), r"^robust: adversary: every = 0; it must be a whole number"),
    (("undo", {"steps": 3}), r"^robust: undo: unknown name 'steps'"),
    (("undo", {"share": 1.0}), r"^robust: undo: share = 1\.0; it must be"),
    (("sam", 0.1), r"^robust: \('sam', 0\.1\) is neither a name nor a pair"),
    ((), r"^robust: \(\) is neither"),
  ],
)
def test_a_wrong_way_is_refused_by_its_field(way, message):
  with pytest.raises(InputError, match=message):
    built("anchored", way)


def test_a_method_without_a_forget_loss_has_nothing_to_be_robust_in():
  with pytest.raises(InputError, match=r"^robust: sam needs a forget loss"):
    built("finetune", "sam")
