"""Losses and their gradients over a batch that is embedded in parts, one after another.

A contrastive loss compares all pairs of a batch, so the mean of the losses of its parts is another
loss. Here every part is embedded once to get the loss and its gradient by embedding, and once more
to carry that gradient to the parameters: the loss of the whole batch, in the memory of a part.

Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup (arXiv
2101.06983).
"""

import jax
import jax.numpy as jnp

from salmu_jax.models.clip import Embeddings


def embed_in_parts(embed, params, batch, parts):
  """Embeddings of a batch, `parts` equal parts of it at a time.

  Args:
    embed: embed(params, batch) -> Embeddings.
    batch: a tree of (B, ...); B divides by `parts`.
  """
  if parts == 1:
    return embed(params, batch)
  z = jax.lax.map(lambda part: embed(params, part), _split(batch, parts))
  return Embeddings(*[_joined(x) for x in z])


def value_and_grad(loss, embed, params, batch, parts=1):
  """A loss on embeddings, and its gradient by parameters.

  Args:
    loss: loss(Embeddings) -> (value, aux).
    embed, params, batch, parts: as for `embed_in_parts`.

  Returns:
    ((value, aux), gradients): the same for any number of parts, but for rounding.
  """
  if parts == 1:
    return jax.value_and_grad(lambda p: loss(embed(p, batch)), has_aux=True)(params)
  z = embed_in_parts(embed, params, batch, parts)
  value, dz = jax.value_and_grad(loss, has_aux=True)(z)
  # Every part has the scale and the bias, each of which gets its share of their gradient.
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

  So every part takes as many rows from each device, and none has to move.
  """
  return jax.tree.map(lambda x: _part_rows(x, parts), batch)


def _part_rows(x, parts):
  return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)


def _joined(x):
  """Undoes `_split` of one array; of a value per part, the first."""
  if x is None:
    return None
  if x.ndim == 1:
    return x[0]
  return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])


def _shared(x, parts):
  if x is None:
    return None
  return jnp.full(parts, x / parts) if x.ndim == 0 else _part_rows(x, parts)
