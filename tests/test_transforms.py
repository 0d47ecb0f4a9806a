"""Every transformation keeps the contract of the package."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import F, P, R, flat, step

from salmu_jax import transforms

EVERY = {
  "add_retain": lambda: transforms.add_retain(),
  "project_conflicts": lambda: transforms.project_conflicts(),
  "munba": lambda: transforms.munba(),
  "alternate": lambda: transforms.alternate(4),
  "in_stages": lambda: transforms.in_stages(1),
  "reward_distance": lambda: transforms.reward_distance(),
  "train_only": lambda: transforms.train_only("^text/"),
  "only": lambda: transforms.only(optax.adam(0.1), "^text/"),
  "low_rank": lambda: transforms.low_rank(optax.adam(0.1), 2, 0),
  "trust_region": lambda: transforms.trust_region(0.01),
  "keep_salient": lambda: transforms.keep_salient(),
  "project_out": lambda: transforms.project_out(2),
  "project_both": lambda: transforms.project_both("retain"),
  "divide_by_importance": lambda: transforms.divide_by_importance(),
  "hold_unimportant": lambda: transforms.hold_unimportant(0.1),
  "select_layers": lambda: transforms.select_layers(),
  "grow_layers": lambda: transforms.grow_layers(2),
  "dampen": lambda: transforms.dampen(0.1, 1.0, 2),
  "add_noise_by_importance": lambda: transforms.add_noise_by_importance(1e-4, 2, 0),
  "add_noise": lambda: transforms.add_noise(0.1, 2, 0),
  "reflect": lambda: transforms.reflect(1.0, 2),
  "reflect_merged": lambda: transforms.reflect_merged(optax.sgd(0.1), 1.0, 2, 2),
  "undo": lambda: transforms.undo(0.1, steps=2, seed=0),
  "soup": lambda: transforms.soup(2),
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
  updated, after = run(updates, state, params)
  updated, after = run(updates, after, params)
  assert kinds(updated) == kinds(updates)
  assert kinds(after) == kinds(state)
  assert len(traces) == 1
  assert np.isfinite(flat(updated)).all()


def test_measured_limits_change_nothing_until_they_are_prepared():
  limits = ("keep_salient", "project_out", "project_both", "divide_by_importance", "select_layers")
  for name in limits:
    updated, _ = step(EVERY[name]())
    np.testing.assert_array_equal(flat(updated), flat(F))
