"""Limits that are measured on the data, on small trees and beside plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import F, P, R, flat, layer_trees, passing, random_tree, step, times

from salmu_jax import transforms
from salmu_jax.errors import InputError


def test_a_prepare_without_its_transformation_is_refused():
  with pytest.raises(InputError, match="KeepSalientState"):
    transforms.find_salient(0.5)(optax.sgd(0.1).init(P), passing((F, R)))


def test_salun_keeps_the_share_with_the_largest_summed_gradients_and_the_other_bits():
  tx = optax.chain(optax.adamw(0.1, weight_decay=0.5), transforms.keep_salient())
  pairs = [(random_tree(i), R) for i in range(3)]
  state = transforms.find_salient(0.5)(tx.init(P), passing(*pairs))
  size = np.abs(sum(flat(f) for f, _ in pairs))
  kept = size >= np.sort(size)[-2]  # two of four
  params = P
  for _ in range(3):
    updates, state = tx.update(F, state, params, retain_grads=R)
    params = optax.apply_updates(params, updates)
  changed = flat(params) != flat(P)
  np.testing.assert_array_equal(changed, kept)
  everything = transforms.find_salient(1.0)(tx.init(P), passing(*pairs))
  assert all(np.all(x) for x in jax.tree.leaves(everything[1].mask))


def test_weights_without_any_gradient_are_never_salient():
  zero_text = {"text": times(0.0, F["text"]), "visual": F["visual"]}
  tx = transforms.keep_salient()
  state = transforms.find_salient(0.9)(tx.init(P), passing((zero_text, R)))
  assert not np.any(state.mask["text"]["kernel"]) and np.all(state.mask["visual"]["kernel"])


def test_project_out_spares_every_measured_retain_gradient_after_any_optimizer():
  tx = optax.chain(optax.adam(0.1), transforms.project_out(2))
  retains = [random_tree(10), random_tree(11)]
  state = transforms.find_basis(2)(tx.init(P), passing(*[(F, r) for r in retains]))
  basis = np.stack([flat(jax.tree.map(lambda x, k=k: x[k], state[1].basis)) for k in range(2)])
  np.testing.assert_allclose(basis @ basis.T, np.eye(2), atol=1e-5)
  updates, _ = tx.update(F, state, P, retain_grads=R)
  plain, _ = optax.adam(0.1).update(F, optax.adam(0.1).init(P), P)
  for r in retains:
    assert abs(flat(plain) @ flat(r)) > 1e-2
    np.testing.assert_allclose(flat(updates) @ flat(r), 0, atol=1e-6)
  np.testing.assert_allclose(
    flat(updates), flat(plain) - basis.T @ (basis @ flat(plain)), atol=1e-6
  )


def test_a_basis_of_dependent_gradients_leaves_the_surplus_directions_out():
  tx = transforms.project_out(3)
  state = transforms.find_basis(3)(tx.init(P), passing(*[(F, times(k, R)) for k in (1.0, 2.0)]))
  norms = [np.linalg.norm(flat(jax.tree.map(lambda x, k=k: x[k], state.basis))) for k in range(3)]
  np.testing.assert_allclose(sorted(norms), [0, 0, 1], atol=1e-5)
  updated, _ = step(tx, state=state)
  np.testing.assert_allclose(flat(updated) @ flat(R), 0, atol=1e-5)


def test_importance_divides_by_the_mean_squared_retain_gradient():
  tx = transforms.divide_by_importance(2.0)
  pairs = [(F, random_tree(i)) for i in range(3)]
  state = transforms.measure_importance()(tx.init(P), passing(*pairs))
  fisher = np.mean([flat(r) ** 2 for _, r in pairs], axis=0)
  updated, _ = step(tx, state=state)
  np.testing.assert_allclose(flat(updated), flat(F) / (1 + 2 * fisher / fisher.mean()), rtol=1e-5)
  same, _ = step(transforms.divide_by_importance(0.0), state=state)
  np.testing.assert_allclose(flat(same), flat(F), rtol=1e-6)


def test_the_pull_of_l2ul_spares_what_forget_needs():
  tx = transforms.hold_unimportant(0.5)
  state = transforms.measure_freedom()(tx.init(P), passing((F, R), (times(3.0, F), R)))
  away = jax.tree.map(lambda x: x + 1.0, P)
  updated, _ = step(tx, state=state, params=away)
  freedom = np.concatenate(
    [np.abs(x) / np.abs(x).max() for x in map(flat, (F["text"], F["visual"]))]
  )
  np.testing.assert_allclose(flat(updated), flat(F) + 0.5 * (1 - freedom), rtol=1e-5)


def layered():
  """Two matrices, a bias with a large gradient, and two scanned layers."""
  ones = lambda *shape: jnp.ones(shape)
  params = {"a": {"kernel": ones(2, 2)}, "b": {"kernel": ones(2, 2), "bias": ones(2)},
            "blocks": {"kernel": ones(2, 2, 2)}}  # fmt: skip
  forget = jax.tree.map(jnp.zeros_like, params)
  forget["a"]["kernel"] = jnp.array([[3.0, 0], [0, 0]])
  forget["b"]["kernel"] = jnp.array([[1.0, 0], [0, 0]])
  forget["b"]["bias"] = jnp.array([99.0, 0])
  forget["blocks"]["kernel"] = jnp.array([[[0.0, 0], [0, 0]], [[5.0, 0], [0, 0]]])
  retain = jax.tree.map(jnp.zeros_like, params)
  retain["a"]["kernel"] = jnp.array([[3.0, 4], [0, 0]])  # alignment 0.6
  retain["b"]["kernel"] = jnp.array([[1.0, 0], [0, 0]])  # 1, and less to gain: beaten by a
  retain["blocks"]["kernel"] = jnp.array([[[1.0, 0], [0, 0]], [[4.0, 3], [0, 0]]])  # 0.8
  return params, forget, retain


@pytest.mark.parametrize(("count", "a", "second_block"), [(1, True, False), (2, True, True)])
def test_slug_chooses_matrices_that_none_beats_and_single_layers_of_a_scan(count, a, second_block):
  params, forget, retain = layered()
  tx = transforms.select_layers()
  state = transforms.find_layers(count)(tx.init(params), passing((forget, retain)))
  updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
  moved = jax.tree.map(lambda x: bool(np.any(x)), updates)
  assert moved["a"]["kernel"] == a
  assert not moved["b"]["kernel"] and not moved["b"]["bias"]
  assert bool(np.any(updates["blocks"]["kernel"][1])) == second_block
  assert not np.any(updates["blocks"]["kernel"][0])


def by_hand(score):
  """The layers of `layered` by a score(theta, f, r) on plain arrays, the largest first."""
  params, forget, retain = layered()
  matrices = {"a": lambda t: t["a"]["kernel"], "b": lambda t: t["b"]["kernel"]}
  for k in range(2):
    matrices[f"block {k}"] = lambda t, k=k: t["blocks"]["kernel"][k]
  scores = {name: score(*(np.asarray(of(t), np.float64) for t in (params, forget, retain)))
            for name, of in matrices.items()}  # fmt: skip
  return sorted(scores, key=lambda name: -scores[name])


def moved_layers(updates):
  parts = {"a": updates["a"]["kernel"], "b": updates["b"]["kernel"], "bias": updates["b"]["bias"]}
  parts |= {f"block {k}": updates["blocks"]["kernel"][k] for k in range(2)}
  return {name for name, part in parts.items() if np.any(part)}


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_razor_opens_one_more_matrix_at_a_time_in_the_order_of_its_score(alpha):
  def score(theta, f, r):
    cosine = np.sum(f * r) / max(np.linalg.norm(f) * np.linalg.norm(r), 1e-30)
    return np.linalg.norm(f) / np.linalg.norm(theta) * (1 + cosine) ** alpha

  order, (params, forget, retain) = by_hand(score), layered()
  tx = transforms.grow_layers(6, 3)
  state = transforms.find_order(alpha)(tx.init(params), passing((forget, retain)))
  seen = []
  for _ in range(8):
    updates, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
    seen.append(moved_layers(updates))
  assert seen == [set(order[:count]) for count in (1, 1, 2, 2, 3, 3, 3, 3)]


def test_razors_score_prefers_the_matrix_where_forgetting_does_not_hurt_retain():
  both = {"hurts": {"kernel": jnp.eye(2)}, "spares": {"kernel": jnp.eye(2)}}
  against = {"hurts": {"kernel": -jnp.eye(2)}, "spares": {"kernel": 0.5 * jnp.eye(2)}}
  tx = transforms.grow_layers(1, 1)
  state = transforms.find_order(1.0)(tx.init(both), passing((both, against)))
  updates, _ = tx.update(both, state, both)
  assert np.any(updates["spares"]["kernel"]) and not np.any(updates["hurts"]["kernel"])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_relative_fisher_information_chooses_what_forget_needs_more_than_retain(count):
  params, forget, retain = layered()
  retain["blocks"]["kernel"] = 0.1 * retain["blocks"]["kernel"]
  passes = [(times(size, forget), times(3 - size, retain)) for size in (1.0, 2.0)]
  score = lambda f, r: (
    sum(np.sum(np.asarray(x) ** 2) for x in f) / sum(np.sum(np.asarray(x) ** 2) for x in r)
  )
  layers = {
    "a": lambda t: t["a"]["kernel"], "b": lambda t: t["b"]["kernel"],
    "block 0": lambda t: t["blocks"]["kernel"][0], "block 1": lambda t: t["blocks"]["kernel"][1],
  }  # fmt: skip
  scores = {n: score([of(f) for f, _ in passes], [of(r) for _, r in passes])
            for n, of in layers.items()}  # fmt: skip
  tx = transforms.select_layers()
  state = transforms.find_fisher_layers(count)(tx.init(params), passing(*passes))
  updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
  assert moved_layers(updates) == set(sorted(scores, key=lambda n: -scores[n])[:count])


def test_l2uls_freedom_and_slugs_layer_are_the_same_for_scanned_and_unrolled_blocks():
  pulled, chosen = [], []
  for params, forget, retain in layer_trees():
    tx = transforms.hold_unimportant(0.5)
    state = transforms.measure_freedom()(tx.init(params), passing((forget, retain)))
    pulled.append(flat(tx.update(forget, state, jax.tree.map(lambda x: x + 1, params))[0]))
    tx = transforms.select_layers()
    state = transforms.find_layers(1)(tx.init(params), passing((forget, retain)))
    chosen.append(flat(tx.update(forget, state, params)[0]))
  np.testing.assert_allclose(*pulled, rtol=1e-5)
  np.testing.assert_allclose(*chosen, rtol=1e-5)
  assert 0 < np.count_nonzero(chosen[0]) == chosen[0].size // 2
