"""Cosines of a batch, and the matching probabilities of its images and captions."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from salmu_jax.models.clip import Embeddings

_PRECISION = jax.lax.Precision.HIGHEST


def similarities(image: jax.Array, text: jax.Array) -> jax.Array:
  """All cosines of a batch. image, text (B, D) unit rows -> (B, B) float32."""
  return jnp.dot(image, text.T, precision=_PRECISION)


def log_matching(z: Embeddings) -> tuple[jax.Array, jax.Array]:
  """log p of captions for each image and of images for each caption: two (B, B)."""
  logits = z.scale * similarities(z.image, z.text)
  return jax.nn.log_softmax(logits, axis=1), jax.nn.log_softmax(logits, axis=0)


def pair_log_matching(z: Embeddings) -> jax.Array:
  """log p of the true pairs: (2, B), by image and by caption."""
  logits = z.scale * similarities(z.image, z.text)
  return jnp.stack([jnp.diagonal(logits) - jax.nn.logsumexp(logits, axis=k) for k in (1, 0)])


def mismatched(rows: jax.Array) -> jax.Array:
  """The rows (B, D), each in the place of the next: in a shuffled batch, a random wrong partner."""
  return jnp.roll(rows, 1, axis=0)


def mismatched_mean(z: Embeddings) -> jax.Array:
  """The mean cosine of each image with the captions of the other images, (B,)."""
  cosines = similarities(z.image, z.text)
  return (jnp.sum(cosines, axis=1) - jnp.diagonal(cosines)) / (cosines.shape[0] - 1)


def mean_divergence(
  teachers: tuple[jax.Array, jax.Array], students: tuple[jax.Array, jax.Array]
) -> jax.Array:
  """KL(teacher to student), mean over all rows and both directions.

  Args:
    teachers: p, by image and by caption, two (B, B). students: log p, likewise.
  """
  both = [
    jnp.sum(xlogy(p, p) - p * log_q) / p.shape[0]
    for p, log_q in zip(teachers, students, strict=True)
  ]
  return sum(both) / 2


def unit(rows: jax.Array) -> jax.Array:
  """Rows (B, D) at length one; finite gradients at zero."""
  return rows * jax.lax.rsqrt(jnp.sum(jnp.square(rows), axis=-1, keepdims=True) + 1e-12)


def matching_accuracy(z: Embeddings) -> jax.Array:
  """Share of images whose own caption scores above all others of the batch, ()."""
  scores = similarities(z.image, z.text)
  others = jnp.where(jnp.eye(scores.shape[0], dtype=bool), -jnp.inf, scores)
  return jnp.mean((jnp.diagonal(scores) > jnp.max(others, axis=1)).astype(jnp.float32))
