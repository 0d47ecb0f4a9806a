"""What several transformations do to whole trees of parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from salmu_jax.models import leaves

TINY = jnp.finfo(jnp.float32).tiny


def copy(params: optax.Params) -> optax.Params:
  """The same tree in buffers of its own: a step donates what it is given."""
  return jax.tree.map(jnp.copy, params)


def wide(tree: optax.Params) -> optax.Params:
  """The tree in float32."""
  return jax.tree.map(lambda x: x.astype(jnp.float32), tree)


def wide_zeros(params: optax.Params) -> optax.Params:
  """Zeros like the tree, in float32."""
  return jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)


def zeroed(updates: optax.Updates, keep: optax.Params) -> optax.Updates:
  """The updates where `keep`, a tree of bool that broadcasts to them, is true; exact zeros
  elsewhere.
  """
  return jax.tree.map(lambda u, k: jnp.where(k, u, jnp.zeros_like(u)), updates, keep)


def map_layers(reduce: Callable[..., jax.Array], *trees: optax.Params) -> optax.Params:
  """reduce(axes, *arrays) for every array; `axes` are those of one layer.

  All axes, or all but the first where blocks are scanned (config.model.scan) and an array holds
  every layer, so that what is counted by layer does not depend on how layers are stored.
  """

  def one(path, x, *others):
    return reduce(tuple(range(1 if leaves.is_scanned(path) else 0, x.ndim)), x, *others)

  return jax.tree_util.tree_map_with_path(one, *trees)
