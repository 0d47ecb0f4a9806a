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
