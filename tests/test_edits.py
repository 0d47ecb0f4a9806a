"""Weight edits: they come with the last step, and are what their formulas say."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import F, P, R, flat, layer_trees, times, walk

from salmu_jax import transforms


def test_ssd_shrinks_what_forget_needs_more_than_alpha_times_and_only_in_its_last_step():
  alpha, strength = 0.5, 0.8
  tx = transforms.dampen(alpha, strength, 3)
  np.testing.assert_array_equal(flat(walk(tx, 2)), flat(P))
  f, r, p = flat(F) ** 2, flat(R) ** 2, flat(P)
  expected = np.where(f > alpha * r, np.minimum(strength * r / f, 1) * p, p)
  assert not np.array_equal(expected, p)
  np.testing.assert_allclose(flat(walk(tx, 3)), expected, rtol=1e-5)
  np.testing.assert_allclose(flat(walk(tx, 5)), expected, rtol=1e-5)


def test_ssd_with_infinite_alpha_is_the_identity_even_where_retain_has_no_gradient():
  tx = transforms.dampen(float("inf"), 1.0, 1)
  for retain in (R, times(0.0, R)):
    np.testing.assert_array_equal(flat(walk(tx, 1, retain=retain)), flat(P))


def test_fisher_noise_is_drawn_once_from_its_seed_in_proportion_to_importance():
  make = lambda alpha, seed=0: transforms.add_noise_by_importance(alpha, 2, seed, limit=np.inf)
  np.testing.assert_array_equal(flat(walk(make(0.1), 1)), flat(P))
  noise = (flat(walk(make(0.1), 2)) - flat(P)) * np.abs(flat(R))
  assert np.all(np.abs(noise) > 0)
  np.testing.assert_allclose(
    (flat(walk(make(0.4), 2)) - flat(P)) * np.abs(flat(R)), 2 * noise, rtol=1e-3
  )
  assert not np.allclose(flat(walk(make(0.1, 1), 2)), flat(walk(make(0.1), 2)))
  np.testing.assert_array_equal(flat(walk(make(0.0), 2)), flat(P))


def test_the_papers_noise_grows_with_the_fourth_root():
  make = lambda power: transforms.add_noise_by_importance(0.1, 1, 0, power, limit=np.inf)
  code, paper = (flat(walk(make(power), 1)) - flat(P) for power in (0.5, 0.25))
  np.testing.assert_allclose(code / paper, (0.1 / flat(R) ** 2) ** 0.25, rtol=1e-3)


def test_the_limit_of_fisher_noise_is_of_each_layer_scanned_or_not():
  for params, forget, retain in layer_trees():
    tx = transforms.add_noise_by_importance(1e12, 1, 0, limit=0.1)
    moved, _ = tx.update(forget, tx.init(params), params, retain_grads=retain)
    small, large = np.split(flat(moved), 2)
    np.testing.assert_allclose([np.std(small), np.std(large)], [0.1, 3.0], rtol=0.1)


def test_fisher_noise_on_weights_that_retain_never_reads_stays_within_its_limit():
  wide = {"kernel": jnp.ones(10_000)}
  none = {"kernel": jnp.zeros(10_000)}
  tx = transforms.add_noise_by_importance(1.0, 1, 0, limit=0.1)
  updated, _ = tx.update(none, tx.init(wide), wide, retain_grads=none)
  np.testing.assert_allclose(np.std(updated["kernel"]), 0.1, rtol=0.03)


def test_descent_to_delete_adds_noise_of_sigma_with_its_last_step_alone():
  wide = {"kernel": jnp.zeros(10_000)}
  tx = transforms.add_noise(0.3, 2, 0)
  first, state = tx.update(wide, tx.init(wide), wide)
  second, state = tx.update(wide, state, wide)
  third, _ = tx.update(wide, state, wide)
  assert not np.any(first["kernel"]) and not np.any(third["kernel"])
  np.testing.assert_allclose(np.std(second["kernel"]), 0.3, rtol=0.03)


def test_a_task_vector_is_reflected_at_the_start_and_coefficient_zero_returns_there():
  make = lambda c: optax.chain(optax.sgd(0.1), transforms.reflect(c, 3))
  tuned = flat(walk(make(1.0), 2)) - 0.1 * flat(F)
  np.testing.assert_allclose(tuned, flat(P) - 0.3 * flat(F), rtol=1e-5)
  np.testing.assert_allclose(flat(walk(make(2.0), 3)), flat(P) - 2 * (tuned - flat(P)), rtol=1e-5)
  np.testing.assert_allclose(flat(walk(make(0.0), 3)), flat(P), rtol=1e-6)


def test_negmerge_restarts_every_leg_and_keeps_what_all_legs_agree_on():
  legs, length = 2, 2
  tx = transforms.reflect_merged(optax.sgd(1.0), 0.5, legs, legs * length + 1, spread=2.0)
  grads = [F, F, jax.tree.map(lambda x: jnp.abs(x) * 3, F), F, F]
  params, state, after = P, tx.init(P), []
  for g in grads:
    updates, state = tx.update(g, state, params, retain_grads=R)
    params = optax.apply_updates(params, updates)
    after.append(flat(params))
  p, f = flat(P), flat(F)
  np.testing.assert_allclose(after[0], p - 0.5 * f, rtol=1e-5)  # the first leg at half the rate
  np.testing.assert_allclose(after[1], p, rtol=1e-6)  # back at the start where it ends
  first, second = -0.5 * 2 * f, -2.0 * (3 * np.abs(f) + f)
  agree = np.sign(first) == np.sign(second)
  assert agree.any() and not agree.all()
  expected = p - 0.5 * np.where(agree, (first + second) / 2, 0)
  np.testing.assert_allclose(after[-1], expected, rtol=1e-5)


def test_negmerge_gives_every_leg_a_fresh_optimizer():
  tx = transforms.reflect_merged(optax.adam(0.1), 1.0, 2, 4, spread=1.0)
  state, first_updates = tx.init(P), []
  for number in range(4):
    updates, state = tx.update(F, state, P, retain_grads=R)
    if number in (0, 2):
      first_updates.append(flat(updates))
  np.testing.assert_allclose(first_updates[0], first_updates[1], rtol=1e-6)


def test_a_soup_mixes_the_start_with_the_moving_average_of_the_second_half():
  steps, share, decay = 6, 0.3, 0.8
  params, expected = P, flat(P)
  tx = optax.chain(optax.sgd(0.1), transforms.soup(steps, share, decay, 0.5))
  state, average = tx.init(P), None
  for number in range(steps):
    gradient = times(number + 1.0, F)
    updates, state = tx.update(gradient, state, params, retain_grads=R)
    params = optax.apply_updates(params, updates)
    expected = expected - 0.1 * flat(gradient)
    average = expected if number <= 3 else decay * average + (1 - decay) * expected
    if number < steps - 1:
      np.testing.assert_allclose(flat(params), expected, rtol=1e-5)
  np.testing.assert_allclose(flat(params), share * average + (1 - share) * flat(P), rtol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_soup_of_nothing_is_the_start_and_one_of_all_without_an_average_is_the_run(decay):
  make = lambda share: optax.chain(optax.sgd(0.1), transforms.soup(3, share, decay, 1.0))
  np.testing.assert_allclose(flat(walk(make(0.0), 3)), flat(P), rtol=1e-6)
  np.testing.assert_allclose(flat(walk(make(1.0), 3)), flat(P) - 0.3 * flat(F), rtol=1e-5)
