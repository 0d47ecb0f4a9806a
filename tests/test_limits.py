"""Where an update may go: some of the parameters, or not far from the start."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import F, P, flat, step, times

from salmu_jax import transforms
from salmu_jax.errors import InputError


def test_train_only_keeps_the_bits_of_every_other_parameter():
  updated, _ = step(transforms.train_only(("^visual/",)))
  np.testing.assert_array_equal(updated["text"]["kernel"], [0.0, 0.0])
  np.testing.assert_array_equal(updated["visual"]["kernel"], F["visual"]["kernel"])
  broken = jax.tree.map(lambda x: x * jnp.nan, F)
  assert np.all(step(transforms.train_only("^visual/"), updates=broken)[0]["text"]["kernel"] == 0)


@pytest.mark.parametrize(
  ("pattern", "message"), [("vision", "matches no parameter.*text, visual"), ("(", "no regular")]
)
def test_train_only_refuses_patterns_that_name_nothing(pattern, message):
  with pytest.raises(InputError, match=message):
    transforms.train_only(pattern).init(P)


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


def test_the_trust_region_leaves_inner_updates_alone_and_pulls_outer_ones_to_its_surface():
  radius = 0.1 * np.linalg.norm(flat(P))
  small, big = times(1e-3, F), times(10.0, F)
  updated, _ = step(transforms.trust_region(0.1), updates=small)
  np.testing.assert_array_equal(flat(updated), flat(small))
  tx = transforms.trust_region(0.1)
  state, params = tx.init(P), P
  for _ in range(3):
    updates, state = step(tx, updates=big, state=state, params=params)
    params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(np.linalg.norm(flat(params) - flat(P)), radius, rtol=1e-4)
  still, _ = step(transforms.trust_region(0.0), updates=big)
  np.testing.assert_allclose(flat(still), 0, atol=1e-6)
