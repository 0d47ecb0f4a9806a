"""Losses that match images with captions: CLIP's, on any captions, and SigLIP's."""

import jax
import jax.numpy as jnp

from salmu_jax.losses.similarity import mismatched, pair_log_matching, similarities
from salmu_jax.models.clip import Embeddings


def contrastive(z: Embeddings, reference: Embeddings | None = None) -> jax.Array:
  """CLIP's loss: symmetric in-batch InfoNCE (Radford et al. 2021, figure 3)."""
  del reference
  return -jnp.mean(pair_log_matching(z))


def sigmoid(z: Embeddings, reference: Embeddings | None = None) -> jax.Array:
  """SigLIP's loss: a binary classification of every image with every caption.

    -(1/B) sum_ij log sigmoid(y_ij (scale S_ij + bias)),    y_ij = 1 for the true pairs, -1 for
    others

  Zhai et al., Sigmoid Loss for Language Image Pre-Training (arXiv 2303.15343), equation 1.
  """
  del reference
  logits = z.scale * similarities(z.image, z.text) + z.bias
  sign = 2 * jnp.eye(logits.shape[0]) - 1
  return -jnp.mean(jnp.sum(jax.nn.log_sigmoid(sign * logits), axis=1))


def contrastive_generic(z: Embeddings, reference: Embeddings | None = None) -> jax.Array:
  """CLIP's loss on the same images with their captions free of private values."""
  return contrastive(z._replace(text=z.generic), reference)


def contrastive_shuffled(z: Embeddings, reference: Embeddings | None = None) -> jax.Array:
  """CLIP's loss on the same images with each other's captions."""
  return contrastive(z._replace(text=mismatched(z.text)), reference)
