"""Updates in the null space of retain's inputs, against the inputs themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import passing, stacked

from salmu_jax import transforms

RNG = np.random.default_rng(0)
INPUTS = (RNG.normal(size=(40, 3)) @ RNG.normal(size=(3, 8))).astype(np.float32)  # of rank 3
PARAMS = {"visual": {"kernel": jnp.asarray(RNG.normal(size=(8, 5)), jnp.float32),
                     "bias": jnp.ones(5)}, "embedding": jnp.ones((4, 8))}  # fmt: skip


def retain_gradients(inputs=INPUTS):
  """The gradients of a loss on the outputs of the kernel, over batches of the inputs."""

  def loss(params, x, y):
    return jnp.mean((jnp.tanh(x @ params["visual"]["kernel"]) - y) ** 2) + jnp.sum(
      params["embedding"] ** 2
    )

  targets = RNG.normal(size=(len(inputs), 5)).astype(np.float32)
  batches = [slice(k, k + 8) for k in range(0, len(inputs), 8)]
  return [(None, jax.grad(loss)(PARAMS, inputs[b], targets[b])) for b in batches]


def drawn(like=PARAMS, seed=1):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), like)


def kept(share, params=PARAMS, gradients=None):
  """The transformation and its state after a pass of retain gradients."""
  tx = transforms.keep_vacuum(share)
  return tx, transforms.find_vacuum()(tx.init(params), passing(*(gradients or retain_gradients())))


def test_what_a_matrix_does_to_retains_inputs_stays_and_to_others_changes():
  tx, state = kept(0.5)  # four directions, where three are used
  updates, _ = tx.update(drawn(), state)
  kernel = np.asarray(updates["visual"]["kernel"])
  np.testing.assert_allclose(INPUTS @ kernel, 0, atol=2e-4)
  other = RNG.normal(size=(10, 8))
  assert np.abs(other @ kernel).min(axis=1).max() > 0.1


def test_the_update_loses_its_projection_on_the_inputs_span_and_no_more():
  tx, state = kept(0.5)
  plain = np.asarray(drawn()["visual"]["kernel"])
  span = np.linalg.svd(INPUTS.T, full_matrices=False)[0][:, :3]
  updated, _ = tx.update(drawn(), state)
  expected = plain - span @ (span.T @ plain)
  np.testing.assert_allclose(updated["visual"]["kernel"], expected, atol=1e-4)
  again, _ = tx.update(updated, state)
  np.testing.assert_allclose(again["visual"]["kernel"], expected, atol=1e-4)


def test_a_smaller_share_takes_out_the_directions_that_retain_uses_most():
  gradients = retain_gradients()
  tx, state = kept(1 / 8, gradients=gradients)
  total = sum(np.asarray(r["visual"]["kernel"]) @ np.asarray(r["visual"]["kernel"]).T
              for _, r in gradients)  # fmt: skip
  main = np.linalg.eigh(total.astype(np.float64))[1][:, -1:]
  plain = np.asarray(drawn()["visual"]["kernel"])
  updated, _ = tx.update(drawn(), state)
  np.testing.assert_allclose(
    updated["visual"]["kernel"], plain - main @ (main.T @ plain), atol=1e-4
  )


def test_what_is_no_matrix_passes_and_before_the_pass_everything_does():
  tx, state = kept(1.0)
  updated, _ = tx.update(drawn(), state)
  for path in (lambda t: t["visual"]["bias"], lambda t: t["embedding"]):
    np.testing.assert_array_equal(path(updated), path(drawn()))
  unmeasured, _ = tx.update(drawn(), tx.init(PARAMS))
  jax.tree.map(np.testing.assert_array_equal, unmeasured, drawn())


def test_scanned_and_unrolled_blocks_lose_the_same():
  outcomes = []
  trees = [drawn({"a": jnp.ones((6, 4)), "b": jnp.ones((6, 4))}, seed) for seed in (1, 2, 3, 4)]
  for params, update, *retains in zip(*(stacked(tree) for tree in trees), strict=True):
    tx, state = kept(0.7, params, [(None, r) for r in retains])
    updated, _ = tx.update(update, state)
    outcomes.append(np.concatenate([np.ravel(x) for x in jax.tree.leaves(updated)]))
  np.testing.assert_allclose(*outcomes, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 4])
def test_thin_factors_in_the_vacuum_leave_retains_outputs_as_they_were(steps):
  tx = transforms.keep_vacuum(0.5)
  tx = optax.chain(tx, transforms.low_rank(optax.adam(0.1), 2, 0), tx)
  state = transforms.find_vacuum()(tx.init(PARAMS), passing(*retain_gradients()))
  params = PARAMS
  for seed in range(steps):
    updates, state = tx.update(drawn(seed=seed), state, params)
    params = optax.apply_updates(params, updates)
  change = np.asarray(params["visual"]["kernel"] - PARAMS["visual"]["kernel"])
  assert np.abs(change).max() > 1e-3 and np.linalg.matrix_rank(change, tol=1e-4) <= 2
  np.testing.assert_allclose(INPUTS @ change, 0, atol=2e-4)
