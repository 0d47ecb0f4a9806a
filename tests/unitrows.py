"""Random embeddings with unit rows, and their products in float64."""

import numpy as np


def unit(*shape, seed=0):
  x = np.random.default_rng(seed).normal(size=shape)
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def associated(n, dim, strength, seed=0):
  """Image and text embeddings whose pairs are related by `strength`, unrelated at 0."""
  image, noise = unit(n, dim, seed=seed), unit(n, dim, seed=seed + 1)
  text = strength * image + noise
  return image, (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)


def dot(a, b):
  return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
