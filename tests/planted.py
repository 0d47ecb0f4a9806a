"""Leaks with made-up words, and embeddings that are planted."""

import numpy as np

from salmu_jax.data.leaks import Leak


def leak_of(number, field="city", value=None, wording="{name} has {value}"):
  name, value = f"Person {number}", value or f"v{number}"
  text = wording.format(name=name, value=value)
  return Leak(name, field, value, text, f"{number:08d}")


def unit(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def embedder(vectors):
  """Embeds each text as the vector that stands under it, all others as that under "else"."""
  return lambda texts: np.stack([vectors.get(t, vectors.get("else")) for t in texts])
