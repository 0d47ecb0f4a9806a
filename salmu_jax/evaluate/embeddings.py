"""A model's embeddings of a release, and the jitted encoders that compute them."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from salmu_jax.data import images, pipeline
from salmu_jax.models import lengths
from salmu_jax.models.clip import CLIP
from salmu_jax.runtime import sharding


class Embedded(NamedTuple):
  """One model's embeddings of a release; all rows have unit length.

  Attributes:
    image: {split: (N, D)}; NaN in rows whose pictures no metric uses.
    text: ({text: its row}, (T, D)).
    class_weights: (C, D), or None if general knowledge is not measured.
  """

  image: Mapping[str, np.ndarray]
  text: tuple[Mapping[str, int], np.ndarray]
  class_weights: np.ndarray | None

  def of(self, texts: Iterable[str]) -> np.ndarray:
    """(N, D) of texts that were embedded."""
    row_of, table = self.text
    return table[[row_of[text] for text in texts]]


def embed_texts(
  encode: Callable[[np.ndarray], np.ndarray],
  tokens: np.ndarray,
  batch_size: int,
  tick: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
  """(N, D) of texts, in their order, each batch cut to a length that holds its longest text.

  Args:
    encode: encode((B, l) tokens) -> (B, D).
    tokens: (N, L).
    batch_size: B; the last batch is filled up.
    tick: tick(count) is called as texts are done.
  """
  # The shortest first, so that the texts of a batch are of about one length.
  order, parts = np.argsort(lengths.of(tokens), kind="stable"), []
  for first in range(0, len(tokens), batch_size):
    batch = lengths.cut(tokens[order[first : first + batch_size]])
    parts.append(encode(pipeline.filled(batch, batch_size))[: len(batch)])
    tick(len(batch))
  return np.concatenate(parts)[np.argsort(order)]


def jitted_encoders(model: CLIP, mesh: jax.sharding.Mesh) -> tuple[Callable, Callable]:
  """The embedding steps as they run.

  images(params, (B, S, S, 3) uint8) and texts(params, (B, L) int32) both return (B, D), whole on
  every device. Parameters keep their layout.
  """
  whole, rows = sharding.replicated(mesh), sharding.over_batch(mesh)

  def encode(params, batch, method):
    # In full float32: by default TPUs and recent GPUs use less precision, and rank differently.
    with jax.default_matmul_precision("highest" if model.dtype == jnp.float32 else None):
      return model.apply({"params": params}, batch, method=method)

  jit = functools.partial(jax.jit, in_shardings=(None, rows), out_shardings=whole)
  return (
    jit(lambda p, x: encode(p, images.normalise(x), CLIP.encode_image)),
    jit(lambda p, x: encode(p, x, CLIP.encode_text)),
  )
