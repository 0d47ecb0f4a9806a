"""Each transformation is what its docstring says, on small trees and beside plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from salmu_jax import transforms
from salmu_jax.errors import InputError

P = {"text": {"kernel": jnp.array([1.0, -2.0])}, "visual": {"kernel": jnp.array([[3.0], [0.5]])}}
F = {"text": {"kernel": jnp.array([0.3, -0.1])}, "visual": {"kernel": jnp.array([[0.2], [1.0]])}}
R = {"text": {"kernel": jnp.array([-1.0, 2.0])}, "visual": {"kernel": jnp.array([[0.5], [-0.4]])}}


def step(tx, updates=F, state=None, params=P, retain=R):
  state = tx.init(params) if state is None else state
  return tx.update(updates, state, params, retain_grads=retain, foreign="ignored")


def flat(tree):
  return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def passing(*pairs):
  """gradients() over (forget, retain) trees."""
  return lambda: ({"forget": f, "retain": r} for f, r in pairs)


def times(factor, tree):
  return jax.tree.map(lambda x: factor * x, tree)


def random_tree(seed):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), P)


EVERY = {
  "add_retain": lambda: transforms.add_retain(),
  "project_conflicts": lambda: transforms.project_conflicts(),
  "munba": lambda: transforms.munba(),
  "alternate": lambda: transforms.alternate(4),
  "train_only": lambda: transforms.train_only("^text/"),
  "only": lambda: transforms.only(optax.adam(0.1), "^text/"),
  "trust_region": lambda: transforms.trust_region(0.01),
  "keep_salient": lambda: transforms.keep_salient(),
  "project_out": lambda: transforms.project_out(2),
  "divide_by_importance": lambda: transforms.divide_by_importance(),
  "hold_unimportant": lambda: transforms.hold_unimportant(0.1),
  "select_layers": lambda: transforms.select_layers(),
  "dampen": lambda: transforms.dampen(0.1, 1.0, 2),
  "add_noise_by_importance": lambda: transforms.add_noise_by_importance(1e-4, 2, 0),
  "add_noise": lambda: transforms.add_noise(0.1, 2, 0),
  "reflect": lambda: transforms.reflect(1.0, 2),
  "reflect_merged": lambda: transforms.reflect_merged(optax.sgd(0.1), 1.0, 2, 2),
  "scale_by_rates": lambda: transforms.scale_by_rates(np.array([0.1, 0.2])),
}


def test_the_table_of_this_file_holds_every_transformation_of_the_package():
  prepares = {name for name in transforms.__all__ if name.startswith(("find_", "measure_"))}
  assert set(transforms.__all__) == set(EVERY) | prepares


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_types_stay_one_trace_is_enough_and_foreign_arguments_pass(name, dtype):
  tx, traces = EVERY[name](), []

  @jax.jit
  def run(updates, state, params):
    traces.append(1)
    return tx.update(updates, state, params, retain_grads=R, foreign=3)  # float32 beside `dtype`

  params, updates = (optax.tree.cast(tree, dtype) for tree in (P, F))
  state = tx.init(params)
  kinds = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  out, after = run(updates, state, params)
  out, after = run(updates, after, params)
  assert kinds(out) == kinds(updates)
  assert kinds(after) == kinds(state)
  assert len(traces) == 1
  assert np.isfinite(flat(out)).all()


def test_add_retain_adds_the_weighted_retain_gradient():
  out, _ = step(transforms.add_retain(2.0))
  np.testing.assert_allclose(flat(out), flat(F) + 2 * flat(R), rtol=1e-6)


def test_conflicting_updates_lose_what_points_against_retain_and_agreeing_ones_nothing():
  f, r = flat(F), flat(R)
  assert f @ r < 0
  out, state = step(transforms.project_conflicts())
  np.testing.assert_allclose(flat(out), f - (f @ r) / (r @ r) * r, rtol=1e-5)
  np.testing.assert_allclose(flat(out) @ r, 0, atol=1e-6)
  np.testing.assert_allclose(state.cosine, f @ r / np.linalg.norm(f) / np.linalg.norm(r), rtol=1e-5)
  agreeing, _ = step(transforms.project_conflicts(), updates=times(0.5, R))
  np.testing.assert_allclose(flat(agreeing), 0.5 * r, rtol=1e-6)


def test_projection_survives_a_retain_gradient_of_zero():
  out, state = step(transforms.project_conflicts(), retain=times(0.0, R))
  np.testing.assert_array_equal(flat(out), flat(F))
  assert np.isfinite(state.cosine)


def test_munba_solves_the_bargaining_equations():
  out, state = step(transforms.munba())
  f, r = flat(F), flat(R)
  gram, a = np.array([[f @ f, f @ r], [f @ r, r @ r]]), np.asarray(state.weights, np.float64)
  np.testing.assert_allclose(gram @ a, 1 / a, rtol=1e-4)
  np.testing.assert_allclose(flat(out), a[0] * f + a[1] * r, rtol=1e-5)


def test_munba_does_not_depend_on_the_gradients_lengths_and_survives_opposite_or_zero_ones():
  out, _ = step(transforms.munba())
  scaled, _ = step(transforms.munba(), updates=times(50.0, F), retain=times(0.01, R))
  np.testing.assert_allclose(flat(scaled), flat(out), rtol=1e-4)
  for updates in (times(-1.0, R), times(0.0, F)):
    assert np.isfinite(flat(step(transforms.munba(), updates=updates)[0])).all()


def test_alternate_begins_with_retain_takes_turns_and_then_stays_with_it():
  tx, out = transforms.alternate(3), []
  state = tx.init(P)
  for _ in range(6):
    updates, state = step(tx, state=state)
    out.append("f" if np.allclose(flat(updates), flat(F)) else "r")
    assert np.allclose(flat(updates), flat(F)) or np.allclose(flat(updates), flat(R))
  assert "".join(out) == "rfrrrr"


def test_train_only_keeps_the_bits_of_every_other_parameter():
  out, _ = step(transforms.train_only(("^visual/",)))
  np.testing.assert_array_equal(out["text"]["kernel"], [0.0, 0.0])
  np.testing.assert_array_equal(out["visual"]["kernel"], F["visual"]["kernel"])
  broken = jax.tree.map(lambda x: x * jnp.nan, F)
  assert np.all(step(transforms.train_only("^visual/"), updates=broken)[0]["text"]["kernel"] == 0)


@pytest.mark.parametrize(
  ("pattern", "message"), [("vision", "matches no parameter.*text, visual"), ("(", "no regular")]
)
def test_train_only_refuses_patterns_that_name_nothing(pattern, message):
  with pytest.raises(InputError, match=message):
    transforms.train_only(pattern).init(P)


def test_the_trust_region_leaves_inner_updates_alone_and_pulls_outer_ones_to_its_surface():
  radius = 0.1 * np.linalg.norm(flat(P))
  small, big = times(1e-3, F), times(10.0, F)
  out, _ = step(transforms.trust_region(0.1), updates=small)
  np.testing.assert_array_equal(flat(out), flat(small))
  tx = transforms.trust_region(0.1)
  state, params = tx.init(P), P
  for _ in range(3):
    updates, state = step(tx, updates=big, state=state, params=params)
    params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(np.linalg.norm(flat(params) - flat(P)), radius, rtol=1e-4)
  still, _ = step(transforms.trust_region(0.0), updates=big)
  np.testing.assert_allclose(flat(still), 0, atol=1e-6)


def test_measured_limits_change_nothing_until_they_are_prepared():
  for name in ("keep_salient", "project_out", "divide_by_importance", "select_layers"):
    out, _ = step(EVERY[name]())
    np.testing.assert_array_equal(flat(out), flat(F))


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
  out, _ = step(tx, state=state)
  np.testing.assert_allclose(flat(out) @ flat(R), 0, atol=1e-5)


def test_importance_divides_by_the_mean_squared_retain_gradient():
  tx = transforms.divide_by_importance(2.0)
  pairs = [(F, random_tree(i)) for i in range(3)]
  state = transforms.measure_importance()(tx.init(P), passing(*pairs))
  fisher = np.mean([flat(r) ** 2 for _, r in pairs], axis=0)
  out, _ = step(tx, state=state)
  np.testing.assert_allclose(flat(out), flat(F) / (1 + 2 * fisher / fisher.mean()), rtol=1e-5)
  same, _ = step(transforms.divide_by_importance(0.0), state=state)
  np.testing.assert_allclose(flat(same), flat(F), rtol=1e-6)


def test_the_pull_of_l2ul_spares_what_forget_needs():
  tx = transforms.hold_unimportant(0.5)
  state = transforms.measure_freedom()(tx.init(P), passing((F, R), (times(3.0, F), R)))
  away = jax.tree.map(lambda x: x + 1.0, P)
  out, _ = step(tx, state=state, params=away)
  freedom = np.concatenate(
    [np.abs(x) / np.abs(x).max() for x in map(flat, (F["text"], F["visual"]))]
  )
  np.testing.assert_allclose(flat(out), flat(F) + 0.5 * (1 - freedom), rtol=1e-5)


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


def walk(tx, steps, updates=F, retain=R):
  params, state = P, tx.init(P)
  for _ in range(steps):
    out, state = tx.update(updates, state, params, retain_grads=retain)
    params = optax.apply_updates(params, out)
  return params


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


def stacked(tree):
  """Two layers apart, and the same two in one array with a leading layer axis."""
  apart = {"block_0": {"kernel": tree["a"]}, "block_1": {"kernel": tree["b"]}}
  return apart, {"blocks": {"kernel": jnp.stack([tree["a"], tree["b"]])}}


def layer_trees():
  """Parameters, forget and retain gradients of two layers of different size, each in both
  layouts.
  """
  rng = np.random.default_rng(5)
  draw = lambda size: jnp.asarray(size * rng.normal(size=(30, 30)), jnp.float32)
  return zip(*(stacked({"a": draw(1.0), "b": draw(30.0)}) for _ in range(3)), strict=True)


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
  out, _ = tx.update(none, tx.init(wide), wide, retain_grads=none)
  np.testing.assert_allclose(np.std(out["kernel"]), 0.1, rtol=0.03)


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


def test_only_gives_the_chosen_parameters_to_the_optimizer_and_keeps_no_state_of_the_others():
  tx = transforms.only(optax.adam(0.1), "^text/")
  updates, state = step(tx)
  alone, _ = optax.adam(0.1).update(F["text"], optax.adam(0.1).init(P["text"]), P["text"])
  np.testing.assert_allclose(flat(updates["text"]), flat(alone))
  np.testing.assert_array_equal(flat(updates["visual"]), 0.0)
  kept = sum(x.size for x in jax.tree.leaves(state))
  assert kept == 2 * P["text"]["kernel"].size + 1  # two moments and a count
  with pytest.raises(InputError, match="matches no parameter"):
    transforms.only(optax.adam(0.1), "^txt/").init(P)
