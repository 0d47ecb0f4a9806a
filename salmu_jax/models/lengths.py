"""Cuts texts to their length: fewer tokens go through the text tower, with the same embeddings.

The text tower is causal and pools at the end of text, so tokens after it change no embedding, and
most captions fill a fraction of the context. Where texts can be sorted freely, each batch is `cut`
to a length that holds its longest text. In a training step, whose shapes must stay the same, the
texts of a batch are embedded in `Groups` of fixed sizes and lengths, the shortest first.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Lengths below the context that texts are cut to; few, because each is compiled.
LADDER = (8, 16, 24, 32, 48)
_MOST_GROUPS = 3
# Batches drawn to choose groups, which all of them fit. A later batch that does not fit is embedded
# at the full context.
_BATCHES = 2000


class Groups(NamedTuple):
  """How the texts of a training batch are embedded.

  counts: texts of each group in one shard, shortest texts first.
  lengths: tokens that the texts of each group are cut to, ascending.
  shards: number of equal consecutive parts of the batch, each sorted by itself; a multiple of the
    devices, so that no text moves between devices.
  """

  counts: tuple[int, ...]
  lengths: tuple[int, ...]
  shards: int = 1


def ladder(context_length: int) -> tuple[int, ...]:
  """The lengths that texts are cut to, ascending; the last one is the context."""
  return (*(length for length in LADDER if length < context_length), context_length)


def of(tokens: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
  """(..., L) tokens -> (...) their lengths, the end of text included.

  The end of text is the highest id of a row, as the text tower takes it.
  """
  return tokens.argmax(axis=-1) + 1


def cut(tokens: np.ndarray) -> np.ndarray:
  """(B, L) tokens -> (B, l): the shortest length of the ladder that holds every row."""
  longest = int(of(tokens).max(initial=1))
  return tokens[:, : next(length for length in ladder(tokens.shape[1]) if length >= longest)]


def choose(sample: np.ndarray, rows: int, shards: int) -> Groups | None:
  """The groups with the fewest tokens that nearly every batch fits; None if none saves any.

  Args:
    sample: (N, L) or (N, K, L) tokens of N rows like those of the batches.
    rows: of a shard.
    shards: of a batch, see `Groups`.
  """
  text_lengths = of(sample).reshape(len(sample), -1)
  levels, texts = ladder(sample.shape[-1]), rows * text_lengths.shape[1]
  beyond = [*_most_longer(text_lengths, levels[:-1], rows), 0]
  best = Groups((texts,), levels[-1:], shards)
  for size in range(1, _MOST_GROUPS):
    for chosen in itertools.combinations(range(len(levels) - 1), size):
      ends = [texts, *(beyond[level] for level in chosen), 0]
      counts = tuple(a - b for a, b in itertools.pairwise(ends))
      groups = Groups(counts, tuple(levels[level] for level in (*chosen, -1)), shards)
      best = min(best, groups, key=_tokens) if min(counts) > 0 else best
  return best if len(best.counts) > 1 else None


def choose_each(sample: Mapping[str, Any], rows: int, shards: int) -> dict[str, Any]:
  """{name: Groups} of all texts of a batch for which groups save tokens.

  Args:
    sample: {name: (N, L) or (N, K, L) tokens, or such a dict of a part of the batch}.
    rows, shards: as for `choose`.
  """
  groups = {
    name: (choose_each if isinstance(texts, Mapping) else choose)(texts, rows, shards)
    for name, texts in sample.items()
  }
  return {name: chosen for name, chosen in groups.items() if chosen}


def _most_longer(text_lengths, levels, rows):
  """[the most texts of a shard that are longer than each level], in batches drawn from a sample.

  Whole rows are drawn, because the texts of a row are often alike.

  Args:
    text_lengths: (N, K) the lengths of the texts of N rows.
  """
  # A text longer than any in the sample may come, so a row longer than every level is added.
  text_lengths = np.concatenate(
    [text_lengths, np.full((1, text_lengths.shape[1]), max(levels, default=0) + 1)]
  )
  drawn = np.random.default_rng(0).integers(len(text_lengths), size=(_BATCHES, rows))
  longer = [(text_lengths > level).sum(axis=1) for level in levels]
  return [int(count[drawn].sum(axis=1).max()) for count in longer]


def _tokens(groups):
  return sum(count * length for count, length in zip(groups.counts, groups.lengths, strict=True))


def fit(tokens: Mapping[str, Any], groups: Mapping[str, Any], parts: int = 1) -> bool:
  """Whether every text of a batch is as short as its group.

  Args:
    tokens: whole shards of a batch as numpy arrays, whose texts (B, L) or (B, K, L) are found
      by the names in `groups`.
    groups: {name: Groups, or such a dict of a part of the batch}.
    parts: number of parts that the batch is embedded in, see `salmu_jax.train.accumulate`; row i is
      in part i mod `parts`.
  """
  fits = True
  for name, chosen in groups.items():
    if isinstance(chosen, Groups):
      text_lengths = of(tokens[name])
      text_lengths = text_lengths.reshape(-1, parts, *text_lengths.shape[1:]).swapaxes(0, 1)
      ascending = np.sort(text_lengths.reshape(-1, sum(chosen.counts)), axis=1)
      limits = np.repeat(chosen.lengths, chosen.counts)
      fits &= bool((ascending <= limits[None]).all())
    else:
      fits &= fit(tokens[name], chosen, parts)
  return fits


class Packed(NamedTuple):
  """The cut texts of a batch, one after another in each of S shards.

  tokens: (S, N). places: (N,) the place of each token in its text. ends: (S, M) for each of the M
    texts of a shard, in the order of the batch, the index among the N at which it ends.
  """

  tokens: jax.Array
  places: np.ndarray
  ends: jax.Array


def each_alone(tokens: jax.Array) -> Groups:
  """Each of (B, L) texts as a shard of its own, at its full length."""
  return Groups((1,), (tokens.shape[1],), tokens.shape[0])


def pack(tokens: jax.Array, groups: Groups) -> Packed:
  """(B, L) tokens, which must `fit` the groups -> Packed."""
  shards = tokens.reshape(groups.shards, -1, tokens.shape[-1])
  rank = order = jnp.zeros(shards.shape[:2], jnp.int32)
  if shards.shape[1] > 1:
    order = jnp.argsort(of(shards), axis=1)
    shards, rank = jnp.take_along_axis(shards, order[..., None], axis=1), jnp.argsort(order, axis=1)
  each = np.repeat(groups.lengths, groups.counts)
  starts = np.cumsum(each) - each
  ends = jnp.take_along_axis(starts[None] + of(shards) - 1, rank, axis=1)
  kept = np.arange(shards.shape[-1])[None] < each[:, None]
  return Packed(shards[:, kept], np.nonzero(kept)[1], ends)


def split(packed: jax.Array, groups: Groups) -> list[jax.Array]:
  """(S, N, W) by token of `Packed` -> [(texts, length, W) of each group]."""
  sizes = np.multiply(groups.counts, groups.lengths)
  parts = jnp.split(packed, np.cumsum(sizes)[:-1].tolist(), axis=1)
  width = packed.shape[-1]
  return [part.reshape(-1, n, width) for part, n in zip(parts, groups.lengths, strict=True)]


def join(parts: Sequence[jax.Array], groups: Groups) -> jax.Array:
  """Undoes `split`."""
  whole = [part.reshape(groups.shards, -1, part.shape[-1]) for part in parts]
  return whole[0] if len(whole) == 1 else jnp.concatenate(whole, axis=1)
