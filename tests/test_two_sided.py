"""`project_both` beside per-token inputs and output gradients of a small linear layer in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from composed import SMALL, draw, make
from trees import P, flat, layer_trees, passing, random_tree

from salmu_jax import train, transforms
from salmu_jax.methods import parts
from salmu_jax.models import leaves
from salmu_jax.runtime import sharding

IN, OUT, TOKENS, BATCHES = 7, 5, 6, 4
LAYER = {"c_fc": {"kernel": jnp.zeros((IN, OUT)), "bias": jnp.ones(OUT)}}


def vectors(seed, inputs=IN, outputs=OUT):
  """Per batch, the inputs (T, IN) and output gradients (T, OUT) of its tokens; some lead."""
  rng = np.random.default_rng(seed)
  draw = lambda size: rng.normal(size=(BATCHES, TOKENS, size)) * np.geomspace(3, 0.5, size)
  return draw(inputs), draw(outputs)


def gradients(inputs, outputs):
  """A tree per batch: of the kernel the sum over tokens of a g'."""
  for a, g in zip(inputs, outputs, strict=True):
    kernel = sum(np.outer(one, other) for one, other in zip(a, g, strict=True))
    yield {"c_fc": {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(g.sum(0))}}


def measured(tx, half, passed, params=LAYER, **args):
  """The state of `tx` after a pass that has these gradients of a half."""
  other = "retain" if half == "forget" else "forget"
  halves = [{half: tree, other: random_tree(9, params)} for tree in passed]
  return transforms.find_subspaces(half, **args)(tx.init(params), lambda: iter(halves))


def removed(vectors_, others, share):
  """The projector onto the leading directions of vectors of tokens, from sums over their pairs."""
  size = vectors_.shape[-1]
  covariance = np.zeros((size, size))
  for batch, weights in zip(vectors_, others, strict=True):
    for s in range(TOKENS):
      for t in range(TOKENS):
        covariance += weights[s] @ weights[t] * np.outer(batch[s], batch[t])
  values, directions = np.linalg.eigh(covariance)
  projector, held = np.zeros((size, size)), 0.0
  for k in reversed(range(size)):
    if held < share * values.sum() and values[k] > 1e-6 * values[-1]:
      projector += np.outer(directions[:, k], directions[:, k])
    held += values[k]
  return projector


@pytest.mark.parametrize("half", ["forget", "retain"])
@pytest.mark.parametrize("sides", ["inputs", "outputs", "both"])
@pytest.mark.parametrize("share", [0.6, 0.95])
def test_an_update_is_what_projectors_from_pairs_of_tokens_leave_of_it(half, sides, share):
  a, g = vectors(1)
  tx = transforms.project_both(half, sides)
  state = measured(tx, half, gradients(a, g), share=share)
  update = random_tree(2, LAYER)
  projected, _ = tx.update(update, state, LAYER)
  left = np.eye(IN) - (removed(a, g, share) if sides != "outputs" else 0)
  right = np.eye(OUT) - (removed(g, a, share) if sides != "inputs" else 0)
  wanted = left @ np.asarray(update["c_fc"]["kernel"], np.float64) @ right
  assert 0.1 < np.linalg.norm(wanted) < 0.99 * np.linalg.norm(update["c_fc"]["kernel"])
  np.testing.assert_allclose(projected["c_fc"]["kernel"], wanted, atol=1e-5)
  np.testing.assert_array_equal(projected["c_fc"]["bias"], update["c_fc"]["bias"])


def test_a_share_of_one_leaves_the_layers_outputs_and_its_loss_where_they_were():
  a, g = vectors(3)
  a, g = a @ np.diag([1, 1, 1, 0, 0, 0, 0]), g @ np.diag([1, 1, 0, 0, 0])  # no full rank
  turn = lambda size, seed: np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
  a, g = a @ turn(IN, 4), g @ turn(OUT, 5)
  tx = optax.chain(optax.adam(0.1), transforms.project_both("retain"))
  state = measured(tx, "retain", gradients(a, g), share=1.0)
  update = np.asarray(tx.update(random_tree(6, LAYER), state, LAYER)[0]["c_fc"]["kernel"])
  assert np.linalg.norm(update) > 0.1
  np.testing.assert_allclose(a @ update, 0, atol=1e-6)
  np.testing.assert_allclose(update @ np.swapaxes(g, 1, 2), 0, atol=1e-6)


def test_thin_factors_trained_beside_retain_leave_its_outputs_as_they_were():
  """As VL-Eraser has it: projected before the factors and after."""
  rng = np.random.default_rng(10)
  inputs = rng.normal(size=(24, 3)) @ rng.normal(size=(3, IN))  # of rank 3
  targets = rng.normal(size=(24, OUT))
  params = random_tree(11, LAYER)
  loss = lambda tree, x, y: jnp.mean((jnp.tanh(x @ tree["c_fc"]["kernel"]) - y) ** 2)
  batches = [(inputs[k : k + 8], targets[k : k + 8]) for k in (0, 8, 16)]
  beside = transforms.project_both("retain", "inputs")
  tx = optax.chain(beside, transforms.low_rank(optax.adam(0.1), 2, 0), beside)
  passed = [jax.grad(loss)(params, *batch) for batch in batches]
  state, moved = measured(tx, "retain", passed, params, share=1.0), params
  for seed in range(4):
    updates, state = tx.update(random_tree(seed, LAYER), state, moved)
    moved = optax.apply_updates(moved, updates)
  change = np.asarray(moved["c_fc"]["kernel"] - params["c_fc"]["kernel"])
  assert np.linalg.matrix_rank(change, tol=1e-4) == 2
  np.testing.assert_allclose(inputs @ change, 0, atol=1e-4)
  assert np.abs(rng.normal(size=(10, IN)) @ change).max() > 0.1


def test_before_the_pass_every_update_goes_through():
  tx = transforms.project_both("retain")
  update = random_tree(12, LAYER)
  np.testing.assert_array_equal(flat(tx.update(update, tx.init(LAYER))[0]), flat(update))


def test_projecting_the_gradient_of_a_matrix_projects_the_vectors_of_its_tokens():
  a, g = vectors(7)
  tx = transforms.project_both("forget")
  (first, *_) = gradients(a, g)
  state = measured(tx, "forget", gradients(a, g), share=0.6)
  of = lambda side: np.asarray(state.removed["forget"][side]["c_fc"]["kernel"], np.float64)
  a0, g0 = a[0] - a[0] @ of("inputs"), g[0] - g[0] @ of("outputs")
  projected, _ = tx.update(first, state, LAYER)
  np.testing.assert_allclose(projected["c_fc"]["kernel"], a0.T @ g0, atol=1e-4)


def test_nothing_is_removed_where_a_half_has_no_gradient():
  tx = transforms.project_both("retain")
  zeros = jax.tree.map(jnp.zeros_like, LAYER)
  update, state = random_tree(8, LAYER), measured(tx, "retain", [zeros], share=1.0)
  np.testing.assert_array_equal(flat(tx.update(update, state, LAYER)[0]), flat(update))


def test_two_of_them_in_a_chain_are_each_filled_from_their_own_half():
  chain = optax.chain(transforms.project_both("retain"), transforms.project_both("forget"))
  state = chain.init(P)
  state = transforms.find_subspaces("forget", 1.0)(state, passing((random_tree(1), random_tree(2))))
  sizes = [np.linalg.norm(flat(one.removed)) for one in state]
  assert sizes[0] == 0 and sizes[1] > 0


def test_scanned_blocks_are_projected_layer_by_layer_like_unrolled_ones():
  projected = []
  for params, _, retain in layer_trees():
    tx = transforms.project_both("retain")
    state = measured(tx, "retain", [retain], params, share=0.7)
    projected.append(flat(tx.update(random_tree(3, params), state, params)[0]))
  np.testing.assert_allclose(*projected, atol=1e-5)


def test_the_kernel_of_patches_is_projected_as_the_matrix_that_it_multiplies_as():
  params = {"conv1": {"kernel": jnp.zeros((2, 2, 3, 4))}}
  folded = {"conv1": {"kernel": jnp.zeros((12, 4))}}
  outcomes = []
  for tree in (params, folded):
    tx = transforms.project_both("retain")
    state = measured(tx, "retain", [random_tree(1, tree)], tree, share=0.5)
    outcomes.append(flat(tx.update(random_tree(2, tree), state, tree)[0]))
  np.testing.assert_array_equal(*outcomes)


@pytest.mark.parametrize(
  ("name", "half"), [("project_both", "retain"), ("collapse_common", "forget")]
)
@pytest.mark.parametrize("loss", [k for k in parts.FORGET_LOSSES if k not in ("learn", "none")])
def test_every_loss_that_forgets_composes_with_it(loss, name, half):
  if parts.FORGET_LOSSES[loss].flat_start and half == "forget":
    return  # refused, as tests/test_compose.py has it: there is nothing to measure
  mixer = ("add_retain",) if parts.FORGET_LOSSES[loss].flat_start else ()
  method = make(loss, *mixer, name)
  state = method.tx.init(SMALL)
  for prepare in method.prepares:
    state = prepare(state, lambda: iter([{"forget": draw(1), "retain": draw(2)}]))
  updates, _ = method.tx.update(draw(3), state, SMALL, retain_grads=draw(4))
  seen = np.linalg.svd(np.asarray(draw(1 if half == "forget" else 2)["text"]["kernel"]))
  lead = seen[0][:, 0] @ np.asarray(updates["text"]["kernel"])
  np.testing.assert_allclose(lead, 0, atol=1e-6)


def test_parameters_split_over_devices_are_measured_and_projected_as_whole_ones():
  mesh = sharding.make_mesh(jax.devices()[:4])
  params = {"c_fc": {"kernel": jnp.zeros((12, 8)), "bias": jnp.zeros(8)}}
  tx, outcomes = transforms.project_both("retain"), []
  for rules in (sharding.REPLICATED, leaves.FSDP):
    layout = train.state_layout(params, tx, mesh, rules)
    put = lambda seed, layout=layout: jax.device_put(random_tree(seed, params), layout.params)
    state = measured(tx, "retain", [put(1)], put(0), share=0.5)
    state = jax.device_put(state, layout.opt_state)
    update = jax.jit(tx.update, out_shardings=(layout.params, layout.opt_state))
    outcomes.append(update(put(2), state)[0])
  assert not outcomes[1]["c_fc"]["kernel"].sharding.is_fully_replicated
  np.testing.assert_allclose(*map(flat, outcomes), atol=1e-6)
  assert np.linalg.norm(flat(outcomes[0])) < 0.9 * np.linalg.norm(flat(random_tree(2, params)))
