"""JAX_DEBUG_NANS stops at a NaN that a model makes, and not at rows that nobody looks at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_evaluator import World


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  return World(tmp_path_factory.mktemp("world"))


def test_a_model_is_judged_alike_with_and_without_the_search_for_nan(world):
  looked_at = world.evaluator._rows_looked_at()
  assert len(looked_at["retain_synth"]) < len(world.records["retain_synth"])
  plain = world.evaluator.run(world.params, "plain")
  with jax.debug_nans(True):
    searched = world.evaluator.run(world.params, "searched")
  assert {**searched, "name": "plain"} == {**plain, "name": "plain"}


def test_a_model_that_makes_nan_is_stopped_where_it_makes_it(world):
  broken = jax.tree.map(lambda x: jnp.full_like(x, np.nan), world.params)
  with jax.debug_nans(True), pytest.raises(FloatingPointError, match="nan"):
    world.evaluator.run(broken, "broken")
