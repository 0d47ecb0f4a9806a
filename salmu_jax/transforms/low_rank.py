"""Low-rank adaptation as a gradient transformation (LoRA, Hu et al., arXiv 2106.09685)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from salmu_jax.models import leaves
from salmu_jax.ranges import Count


class LowRankState(NamedTuple):
  """The factors of each adapted matrix, and the state of the optimizer that moves them."""

  factors: optax.Params
  inner: optax.OptState


def low_rank(
  optimizer: optax.GradientTransformation, rank: Count, seed: int
) -> optax.GradientTransformationExtraArgs:
  """Trains a product of two thin factors on top of each matrix, and nothing else.

  A matrix W (m, n) becomes W + A B with A (m, rank), drawn, and B (rank, n), zero at the start.
  The gradients of the factors follow from that of W, which enters: dA = dW B', dB = A' dW. The
  update is the change of A B, so that the tree keeps its shape. Tables and the kernel of patches
  stay as they are.

  Args:
    optimizer: moves the factors. rank: of the product. seed: of the draws of A.
  """
  optimizer = optax.with_extra_args_support(optimizer)

  def init(params):
    keys = iter(jax.random.split(jax.random.key(seed), len(jax.tree.leaves(params))))
    start = lambda path, weights: _factors(path, weights, rank, next(keys))
    factors = jax.tree_util.tree_map_with_path(start, params)
    return LowRankState(factors, optimizer.init(factors))

  def update(updates, state, params=None, **extra):
    del params, extra
    over = lambda f, *trees: jax.tree.map(f, *trees, is_leaf=_is_factor)
    gradients = over(_gradients, state.factors, updates)
    moves, inner = optimizer.update(gradients, state.inner, state.factors)
    factors = optax.apply_updates(state.factors, moves)
    return over(_change, state.factors, factors, updates), LowRankState(factors, inner)

  return optax.GradientTransformationExtraArgs(init, update)


def _factors(path, weights, rank, key):
  """The factors of a matrix at the start; None for what is no matrix."""
  if not leaves.is_matrix(path) or weights.ndim not in (2, 3):
    return None
  *stack, m, n = weights.shape
  a = jax.random.normal(key, (*stack, m, rank), weights.dtype) * m**-0.5
  return {"a": a, "b": jnp.zeros((*stack, rank, n), weights.dtype)}


def _gradients(factor, gradient):
  """The gradients of the factors, from that of the matrix."""
  if factor is None:
    return None
  transposed = lambda x: jnp.swapaxes(x, -1, -2)
  return {"a": gradient @ transposed(factor["b"]), "b": transposed(factor["a"]) @ gradient}


def _change(old, new, gradient):
  """What the matrix gains by a step of its factors."""
  if old is None:
    return jnp.zeros_like(gradient)
  return new["a"] @ new["b"] - old["a"] @ old["b"]


def _is_factor(node):
  return node is None or (isinstance(node, dict) and set(node) == {"a", "b"})
