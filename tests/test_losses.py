"""Losses against values computed by hand and by numpy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from salmu_jax import losses
from salmu_jax.models.clip import Embeddings

RNG = np.random.default_rng(0)


def units(rows=5, dim=6):
  x = RNG.normal(size=(rows, dim))
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def embeddings(rows=5, scale=4.0):
  return Embeddings(units(rows), units(rows), jnp.float32(scale), units(rows))


def contrastive_by_loops(image, text, scale):
  logits = scale * np.asarray(image, np.float64) @ np.asarray(text, np.float64).T
  total = 0.0
  for i in range(len(logits)):
    total += np.log(np.exp(logits[i]).sum()) - logits[i, i]
    total += np.log(np.exp(logits[:, i]).sum()) - logits[i, i]
  return total / (2 * len(logits))


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_contrastive_equals_loops(scale):
  z = embeddings(scale=scale)
  expected = contrastive_by_loops(z.image, z.text, scale)
  np.testing.assert_allclose(losses.contrastive(z), expected, rtol=1e-5)


def test_contrastive_of_a_perfect_two_by_two_is_the_hand_computed_value():
  z = Embeddings(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), jnp.float32(2.0))
  np.testing.assert_allclose(losses.contrastive(z), np.log(1 + np.exp(-2.0)), rtol=1e-6)


def test_generic_loss_reads_generic_captions_alone():
  z = embeddings()
  expected = contrastive_by_loops(z.image, z.generic, 4.0)
  np.testing.assert_allclose(losses.contrastive_generic(z), expected, rtol=1e-5)
  other = z._replace(text=units())
  assert losses.contrastive_generic(other) == losses.contrastive_generic(z)


def test_pair_similarity_is_the_mean_of_the_pairs_cosines():
  z = Embeddings(
    np.array([[1.0, 0], [0, 1]], np.float32),
    np.array([[0.6, 0.8], [0, -1]], np.float32),
    jnp.float32(1.0),
  )
  np.testing.assert_allclose(losses.pair_similarity(z), (0.6 - 1) / 2, rtol=1e-6)


def test_decoupling_compares_with_the_references_captions_moved_on_by_one():
  z, reference = embeddings(), embeddings()
  n, total = 5, 0.0
  for i in range(n):
    for j in range(n):
      target = reference.image[i] @ reference.text[(j - 1) % n]
      total += (z.image[i] @ z.text[j] - target) ** 2
  np.testing.assert_allclose(losses.decoupling(z, reference), total / n**2, rtol=1e-5)


def test_retention_is_zero_at_the_reference_and_sums_three_squared_errors():
  z, reference = embeddings(), embeddings()
  assert losses.retention(z, z) == 0.0

  def fused(e):
    mean = (e.image + e.text) / 2
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)

  expected = (
    np.mean((fused(z) - fused(reference)) ** 2)
    + np.mean((z.image - reference.image) ** 2)
    + np.mean((z.text - reference.text) ** 2)
  )
  np.testing.assert_allclose(losses.retention(z, reference), expected, rtol=1e-5)


def test_retention_has_finite_gradients_where_image_and_text_are_opposite():
  image = units()
  z = Embeddings(image, -image, jnp.float32(1.0))
  gradient = jax.grad(lambda u: losses.retention(z._replace(image=u), embeddings()))(image)
  assert np.all(np.isfinite(gradient))


def test_matching_accuracy_counts_ties_as_misses():
  z = embeddings()
  hits = [np.argmax(z.text @ u) == i for i, u in enumerate(z.image)]
  assert losses.matching_accuracy(z) == np.mean(hits, dtype=np.float32)
  flat = Embeddings(np.ones((4, 1), np.float32), np.ones((4, 1), np.float32), jnp.float32(1.0))
  assert losses.matching_accuracy(flat) == 0.0
