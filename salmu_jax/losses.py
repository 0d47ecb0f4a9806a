"""Losses on embeddings: `loss(z, reference) -> ()`, mathematics on matrices with unit rows.

`z` and `reference` are `salmu_jax.models.clip.Embeddings` of the same batch, under the parameters in
training and under those the run started from. A loss that ignores `reference` costs no forward pass
of it: the compiler drops what nothing reads.
"""

import jax
import jax.numpy as jnp

_PRECISION = jax.lax.Precision.HIGHEST


def similarities(image, text):
  """All cosines of a batch. image, text (B, D) unit rows -> (B, B) float32."""
  return jnp.dot(image, text.T, precision=_PRECISION)


def _matching(logits):
  """Symmetric cross-entropy of the diagonal. logits (B, B) -> ()."""
  diagonal = jnp.diagonal(logits)
  rows = jax.nn.logsumexp(logits, axis=1) - diagonal
  columns = jax.nn.logsumexp(logits, axis=0) - diagonal
  return jnp.mean(rows + columns) / 2


def contrastive(z, reference=None):
  """CLIP's loss: symmetric in-batch InfoNCE (Radford et al. 2021, figure 3)."""
  del reference
  return _matching(z.scale * similarities(z.image, z.text))


def contrastive_generic(z, reference=None):
  """CLIP's loss on the same images with their captions free of private values."""
  del reference
  return _matching(z.scale * similarities(z.image, z.generic))


def pair_similarity(z, reference=None):
  """Mean cosine of the pairs. Unbounded below but for -1."""
  del reference
  return jnp.mean(jnp.sum(z.image * z.text, axis=-1))


def decoupling(z, reference):
  """MultiDelete's modality decoupling: pairs should look as mismatched pairs did at the start.

    mean (S_theta(u, v) - S_theta0(u, v'))^2

  with v' the captions moved on by one row: in a shuffled batch, a permutation without fixed points.
  Cheng and Amiri, MultiDelete for Multimodal Machine Unlearning (arXiv 2311.12047), section 3.2.
  """
  mismatched = similarities(reference.image, jnp.roll(reference.text, 1, axis=0))
  return jnp.mean(jnp.square(similarities(z.image, z.text) - mismatched))


def retention(z, reference):
  """MultiDelete's knowledge retention: fused and single-mode embeddings stay where they were.

  Mean squared error, over all B x D entries, of the normalised (u + v) / 2, of u and of v.
  Cheng and Amiri, MultiDelete (arXiv 2311.12047), sections 3.3 and 3.4, weights 1.
  """
  moved = [
    _fuse(z) - _fuse(reference),
    z.image - reference.image,
    z.text - reference.text,
  ]
  return sum(jnp.mean(jnp.square(x)) for x in moved)


def _fuse(z):
  """The normalised mean of both modes, (B, D)."""
  mean = (z.image + z.text) / 2
  return mean * jax.lax.rsqrt(jnp.sum(jnp.square(mean), axis=-1, keepdims=True) + 1e-12)


def matching_accuracy(z):
  """Share of images whose own caption scores above every other of the batch, ()."""
  scores = similarities(z.image, z.text)
  others = jnp.where(jnp.eye(scores.shape[0], dtype=bool), -jnp.inf, scores)
  return jnp.mean((jnp.diagonal(scores) > jnp.max(others, axis=1)).astype(jnp.float32))
