"""How forget and retain gradients are weighed against each other, beside plain numpy."""

import numpy as np
from trees import F, P, R, flat, step, times

from salmu_jax import transforms


def test_add_retain_adds_the_weighted_retain_gradient():
  updated, _ = step(transforms.add_retain(2.0))
  np.testing.assert_allclose(flat(updated), flat(F) + 2 * flat(R), rtol=1e-6)


def test_conflicting_updates_lose_what_points_against_retain_and_agreeing_ones_nothing():
  f, r = flat(F), flat(R)
  assert f @ r < 0
  updated, state = step(transforms.project_conflicts())
  np.testing.assert_allclose(flat(updated), f - (f @ r) / (r @ r) * r, rtol=1e-5)
  np.testing.assert_allclose(flat(updated) @ r, 0, atol=1e-6)
  np.testing.assert_allclose(state.cosine, f @ r / np.linalg.norm(f) / np.linalg.norm(r), rtol=1e-5)
  agreeing, _ = step(transforms.project_conflicts(), updates=times(0.5, R))
  np.testing.assert_allclose(flat(agreeing), 0.5 * r, rtol=1e-6)


def test_projection_survives_a_retain_gradient_of_zero():
  updated, state = step(transforms.project_conflicts(), retain=times(0.0, R))
  np.testing.assert_array_equal(flat(updated), flat(F))
  assert np.isfinite(state.cosine)


def test_munba_solves_the_bargaining_equations():
  updated, state = step(transforms.munba())
  f, r = flat(F), flat(R)
  gram, a = np.array([[f @ f, f @ r], [f @ r, r @ r]]), np.asarray(state.weights, np.float64)
  np.testing.assert_allclose(gram @ a, 1 / a, rtol=1e-4)
  np.testing.assert_allclose(flat(updated), a[0] * f + a[1] * r, rtol=1e-5)


def test_munba_does_not_depend_on_the_gradients_lengths_and_survives_opposite_or_zero_ones():
  updated, _ = step(transforms.munba())
  scaled, _ = step(transforms.munba(), updates=times(50.0, F), retain=times(0.01, R))
  np.testing.assert_allclose(flat(scaled), flat(updated), rtol=1e-4)
  for updates in (times(-1.0, R), times(0.0, F)):
    assert np.isfinite(flat(step(transforms.munba(), updates=updates)[0])).all()


def test_alternate_begins_with_retain_takes_turns_and_then_stays_with_it():
  tx, turns = transforms.alternate(3), []
  state = tx.init(P)
  for _ in range(6):
    updates, state = step(tx, state=state)
    turns.append("f" if np.allclose(flat(updates), flat(F)) else "r")
    assert np.allclose(flat(updates), flat(F)) or np.allclose(flat(updates), flat(R))
  assert "".join(turns) == "rfrrrr"


def test_in_stages_follows_forget_and_some_of_retain_and_then_retain_alone():
  tx, seen = transforms.in_stages(2, -0.5), []
  state = tx.init(P)
  for _ in range(4):
    updates, state = step(tx, state=state)
    seen.append(flat(updates))
  first = flat(F) - 0.5 * flat(R)
  np.testing.assert_allclose(seen, [first, first, flat(R), flat(R)], rtol=1e-6)
