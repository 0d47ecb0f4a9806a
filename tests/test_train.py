"""The loop: resumes to the same bits, stops at a NaN with the good checkpoint kept, never
retraces.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from little import MODEL, PARAMS, optimizer_settings
from littlefit import ONE, SCHEDULE, STEP, TX, Killed, fit, killed_at, logged, pair

from salmu_jax import train
from salmu_jax.errors import InputError
from salmu_jax.runtime import sharding
from salmu_jax.train import checkpoint, optimizers, writer


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  folder = tmp_path_factory.mktemp("unbroken")
  return folder, fit(folder)


def test_rows_of_the_log_have_the_learning_rate_and_the_pace(tmp_path):
  fit(tmp_path, schedule=SCHEDULE._replace(pairs=8, seconds_at_peak=1e-6))
  rows = writer.read(tmp_path / "metrics.jsonl")
  table = optimizers.rate_table(optimizer_settings(), SCHEDULE.total_steps, 13)
  for row in rows:
    assert row["learning_rate"] == table[row["step"] - 1]
    assert row["pairs_per_second"] > 0
    assert row["share_of_peak"] == pytest.approx(row["pairs_per_second"] / 8 * 1e-6)
  assert rows[-1]["seconds"] > 0 and {"loss", "accuracy"} <= rows[0].keys()


@pytest.mark.parametrize("deaths", [(3,), (5,), (8, 3), (12,), (6, 6)])
def test_a_killed_run_ends_with_the_same_bits_and_log(deaths, unbroken, tmp_path):
  for number in deaths:
    with pytest.raises(Killed):
      fit(tmp_path, killed_at(number))
  state = fit(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, state, unbroken[1])
  assert logged(tmp_path) == logged(unbroken[0])


def test_a_finished_run_takes_no_more_steps(unbroken):
  state = fit(unbroken[0], killed_at(1))
  jax.tree.map(np.testing.assert_array_equal, state, unbroken[1])


def test_a_log_line_cut_by_a_kill_is_dropped(unbroken, tmp_path):
  with pytest.raises(Killed):
    fit(tmp_path, killed_at(6))
  with open(tmp_path / "metrics.jsonl", "a") as file:
    file.write('{"step": 6, "lo')
  fit(tmp_path)
  assert logged(tmp_path) == logged(unbroken[0])


def test_logged_values_are_means_since_the_last_line(tmp_path):
  every = fit_log(tmp_path / "every", 1)
  pairs = fit_log(tmp_path / "pairs", 2)
  for i, row in enumerate(pairs):
    expected = (every[2 * i]["loss"] + every[2 * i + 1]["loss"]) / 2
    np.testing.assert_allclose(row["loss"], expected, rtol=1e-6)


def fit_log(folder, log_every):
  fit(folder, schedule=train.Schedule(4, log_every, 4))
  return logged(folder)


def test_a_nan_stops_the_run_names_its_step_and_keeps_the_last_good_checkpoint(tmp_path):
  def poisoned(state, batch):
    state, metrics = STEP(state, batch)
    bad = state.step == 7
    params = jax.tree.map(lambda x: jnp.where(bad, jnp.nan, x), state.params)
    return state.replace(params=params), {
      **metrics,
      "loss": jnp.where(state.step >= 7, jnp.nan, metrics["loss"]),
    }

  with pytest.raises(InputError, match="loss became nan at step 7"):
    fit(tmp_path, poisoned)
  assert [row["step"] for row in logged(tmp_path)] == [2, 4, 6]
  saved = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
  assert saved == [4]
  state = fit(tmp_path)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.params))


def test_steps_compile_once_and_the_donated_state_is_gone():
  before = STEP._cache_size()
  state = train.start_state(PARAMS, TX, ONE)
  for seed in range(3):
    old, (state, _) = state, STEP(state, sharding.put_batch(pair(seed), ONE))
    assert old.params["visual"]["proj"].is_deleted()
  assert STEP._cache_size() - before <= 1
  assert not PARAMS["visual"]["proj"].is_deleted()


def test_eight_devices_pretrain_as_one_does():
  # Not Adam: the gradient of a key's bias is zero but for rounding, which Adam would blow up.
  states, tx = [], optax.sgd(1e-3)
  for mesh in (ONE, sharding.make_mesh()):
    state = train.start_state(PARAMS, tx, mesh)
    step = train.jitted_pretrain_step(MODEL, tx, mesh)
    for seed in range(3):
      state, metrics = step(state, sharding.put_batch(pair(seed), mesh))
    states.append(jax.device_get((state.params, metrics)))
  for a, b in zip(*map(jax.tree.leaves, states), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


def test_weights_of_another_architecture_are_refused_with_the_differences(tmp_path):
  checkpoint.save_params(tmp_path / "params", PARAMS)
  like = jax.eval_shape(lambda: PARAMS)
  back = checkpoint.load_params(tmp_path / "params", like)
  jax.tree.map(np.testing.assert_array_equal, back, PARAMS)
  other = dict(like, extra=jax.ShapeDtypeStruct((2,), jnp.float32))
  other["visual"] = dict(like["visual"], proj=jax.ShapeDtypeStruct((12, 9), jnp.float32))
  with pytest.raises(InputError, match=r"extra is missing; visual/proj is \(12, 8\).*\(12, 9\)"):
    checkpoint.load_params(tmp_path / "params", other)
  with pytest.raises(InputError, match="does not exist"):
    checkpoint.load_params(tmp_path / "nothing", like)


def test_a_batch_that_does_not_divide_over_the_mesh_is_refused():
  eight = sharding.make_mesh()
  sharding.check_batch(eight, "pretrain.batch_size", 16)
  for size in (0, 4, 20):
    with pytest.raises(InputError, match=r"pretrain\.batch_size.*mesh of 8 devices"):
      sharding.check_batch(eight, "pretrain.batch_size", size)
