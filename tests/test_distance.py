"""The reward of distance, against the gradient that autodiff finds."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import F, P, flat, random_tree, step

from salmu_jax import transforms


def reward(params, start):
  moved = jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(optax.tree.sub(params, start))])
  return -jnp.sqrt(jnp.mean(moved**2) + 1e-8)


@pytest.mark.parametrize("size", [1e-4, 1.0])
def test_it_adds_the_gradient_of_the_root_mean_square_distance_turned_round(size):
  tx = transforms.reward_distance(2.5)
  away = jax.tree.map(lambda p, d: p + size * d, P, random_tree(3))
  updated, _ = step(tx, state=tx.init(P), params=away)
  expected = flat(F) + 2.5 * flat(jax.grad(reward)(away, P))
  np.testing.assert_allclose(flat(updated), expected, rtol=2e-3)


def test_at_the_start_and_with_weight_zero_it_adds_nothing():
  np.testing.assert_array_equal(flat(step(transforms.reward_distance(3.0))[0]), flat(F))
  tx = transforms.reward_distance(0.0)
  updated, _ = step(tx, state=tx.init(P), params=random_tree(1))
  np.testing.assert_array_equal(flat(updated), flat(F))


def test_descending_on_it_alone_goes_on_in_the_direction_that_was_taken():
  tx = optax.chain(transforms.reward_distance(1.0), optax.sgd(0.1))
  params, state = jax.tree.map(lambda p, d: p + d, P, random_tree(2)), tx.init(P)
  none, direction = jax.tree.map(jnp.zeros_like, P), flat(random_tree(2))
  for _ in range(3):
    updates, state = tx.update(none, state, params)
    params = optax.apply_updates(params, updates)
  moved = flat(params) - flat(P)
  factor = np.linalg.norm(moved) / np.linalg.norm(direction)
  assert factor > 1
  np.testing.assert_allclose(moved, factor * direction, rtol=1e-4)
