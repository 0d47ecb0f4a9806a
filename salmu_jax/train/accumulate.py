"""Gradient accumulation: losses and gradients of a batch that is embedded in parts.

A contrastive loss compares all pairs of a batch, so the mean over the losses of its parts is a
different loss. Here every part is embedded twice: once for the loss and its gradient with respect
to embeddings, and once to carry that gradient to the parameters. The result is the loss of the
whole batch, in the memory of one part.

Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup (arXiv
2101.06983).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from salmu_jax.models.clip import Embeddings


def embed_in_parts(
  embed: Callable[[optax.Params, Any], Embeddings], params: optax.Params, batch: Any, parts: int
) -> Embeddings:
  """Embeddings of a batch, computed in `parts` equal parts, one after another.

  Args:
    embed: embed(params, batch) -> Embeddings.
    params: of the model.
    batch: a tree of arrays (B, ...).
    parts: a divisor of B.
  """
  if parts == 1:
    return embed(params, batch)
  z = jax.lax.map(lambda part: embed(params, part), _split(batch, parts))
  return Embeddings(*[_joined(x) for x in z])


def value_and_grad(
  loss: Callable[[Embeddings], tuple[jax.Array, Any]],
  embed: Callable[[optax.Params, Any], Embeddings],
  params: optax.Params,
  batch: Any,
  parts: int = 1,
) -> tuple[tuple[jax.Array, Any], optax.Updates]:
  """A loss on embeddings, and its gradient with respect to parameters.

  Args:
    loss: loss(Embeddings) -> (value, aux).
    embed, params, batch, parts: as for `embed_in_parts`.

  Returns:
    ((value, aux), gradients): equal up to rounding for any number of parts.
  """
  if parts == 1:
    return jax.value_and_grad(lambda p: loss(embed(p, batch)), has_aux=True)(params)
  z = embed_in_parts(embed, params, batch, parts)
  value, dz = jax.value_and_grad(loss, has_aux=True)(z)
  # Scale and bias occur in every part, so each part gets an equal share of their gradient.
  dz = Embeddings(*[_shared(x, parts) for x in dz])

  def add(total, piece):
    part, cotangent = piece
    _, pull = jax.vjp(lambda p: embed(p, part), params)
    return jax.tree.map(jnp.add, total, pull(cotangent)[0]), None

  start = jax.tree.map(jnp.zeros_like, params)
  grads, _ = jax.lax.scan(add, start, (_split(batch, parts), dz))
  return value, grads


def _split(batch, parts):
  """(B, ...) -> (parts, B / parts, ...): row i goes to part i mod parts.

  Every part takes the same number of rows from each device, so no row moves between devices.
  """
  return jax.tree.map(lambda x: _part_rows(x, parts), batch)


def _part_rows(x, parts):
  return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)


def _joined(x):
  """Undoes `_split` for one array; for one value per part, returns the first."""
  if x is None:
    return None
  if x.ndim == 1:
    return x[0]
  return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])


def _shared(x, parts):
  """`_split` of a gradient; a scalar is divided evenly among the parts."""
  if x is None:
    return None
  return jnp.full(parts, x / parts) if x.ndim == 0 else _part_rows(x, parts)
