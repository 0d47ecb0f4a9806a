"""Losses that hold embeddings or similarities where they were at the start."""

import jax
import jax.numpy as jnp

from salmu_jax.losses.loss import comparing
from salmu_jax.losses.similarity import log_matching, mean_divergence, similarities, unit
from salmu_jax.models.clip import Embeddings


@comparing
def divergence(z: Embeddings, reference: Embeddings) -> jax.Array:
  """KL(p0 to p), mean over rows and both directions, as in CLIPErase and SCRUB."""
  teachers = tuple(jnp.exp(log_p) for log_p in log_matching(reference))
  return mean_divergence(teachers, log_matching(z))


@comparing
def similarity_retention(z: Embeddings, reference: Embeddings) -> jax.Array:
  """Mean of (S - S0)^2 over all B x B."""
  moved = similarities(z.image, z.text) - similarities(reference.image, reference.text)
  return jnp.mean(jnp.square(moved))


@comparing
def embedding_retention(z: Embeddings, reference: Embeddings) -> jax.Array:
  """Mean squared error, over all B x D entries, of u, plus that of v."""
  return sum(jnp.mean(jnp.square(x)) for x in (z.image - reference.image, z.text - reference.text))


@comparing
def retention(z: Embeddings, reference: Embeddings) -> jax.Array:
  """MultiDelete's knowledge retention: fused and single-mode embeddings stay where they were.

  Mean squared error, over all B x D entries, of the normalised (u + v) / 2, of u and of v.
  Cheng and Amiri, MultiDelete (arXiv 2311.12047), sections 3.3 and 3.4, weights 1.
  """
  fused = jnp.mean(jnp.square(_fuse(z) - _fuse(reference)))
  return fused + embedding_retention(z, reference)


def _fuse(z):
  """The normalised mean of image and caption, (B, D)."""
  return unit((z.image + z.text) / 2)


@comparing
def text_retention(z: Embeddings, reference: Embeddings) -> jax.Array:
  """Mean of 1 - cos between each caption and the same caption under the reference."""
  return jnp.mean(1 - jnp.sum(z.text * reference.text, axis=-1))


@comparing
def surrogate_retention(z: Embeddings, reference: Embeddings) -> jax.Array:
  """`text_retention` of the surrogate captions."""
  return jnp.mean(1 - jnp.sum(z.surrogate * reference.surrogate, axis=-1))
