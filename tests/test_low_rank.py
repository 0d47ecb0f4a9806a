"""Low-rank adaptation as a gradient transformation, against factors trained by autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from salmu_jax import transforms

PARAMS = {
  "dense": {"kernel": jnp.linspace(-1, 1, 12).reshape(4, 3), "bias": jnp.ones(3)},
  "blocks": {"kernel": jnp.linspace(0, 1, 2 * 3 * 3).reshape(2, 3, 3)},  # scanned layers
}
X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)


def loss(params):
  y = X @ params["dense"]["kernel"] + params["dense"]["bias"][None]
  for layer in params["blocks"]["kernel"]:
    y = jnp.tanh(y @ layer)
  return jnp.sum((y - 0.3) ** 2)


def test_it_moves_matrices_as_factors_do_that_are_trained_by_autodiff():
  optimizer = optax.adamw(1e-2)
  tx = transforms.low_rank(optimizer, 2, seed=0)
  params, state = PARAMS, tx.init(PARAMS)
  factors = {key: dict(state.factors[key]["kernel"]) for key in PARAMS}
  inner = optimizer.init(factors)

  def adapted(factors):
    return {
      key: {**PARAMS[key], "kernel": PARAMS[key]["kernel"] + pair["a"] @ pair["b"]}
      for key, pair in factors.items()
    }

  for _ in range(4):
    updates, state = tx.update(jax.grad(loss)(params), state, params, retain_grads=None)
    params = optax.apply_updates(params, updates)
    gradients = jax.grad(lambda f: loss(adapted(f)))(factors)
    moves, inner = optimizer.update(gradients, inner, factors)
    factors = optax.apply_updates(factors, moves)
  expected = adapted(factors)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params, expected)
  np.testing.assert_array_equal(params["dense"]["bias"], PARAMS["dense"]["bias"])
  change = params["dense"]["kernel"] - PARAMS["dense"]["kernel"]
  assert np.linalg.matrix_rank(np.asarray(change), tol=1e-5) <= 2
  assert np.abs(params["blocks"]["kernel"] - PARAMS["blocks"]["kernel"]).max() > 1e-3
