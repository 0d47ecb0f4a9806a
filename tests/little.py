"""A CLIP of a few thousand parameters, its batches, and the settings of a short run."""

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import default
from salmu_jax.models import clip
from salmu_jax.models.clip import CLIP, Sizes, Tower

SIZES = Sizes(8, 16, 8, Tower(12, 1, 3), Tower(8, 1, 2), context_length=7, vocab_size=20)
MODEL = CLIP(SIZES)
INIT = jax.jit(clip.init, static_argnums=(0, 1))
PARAMS = INIT(MODEL, 0)


def half(seed, rows=16):
  """A batch {"image", "text", "generic"} of random pixels and tokens."""
  rng = np.random.default_rng(seed)

  def tokens():
    out = rng.integers(1, 18, (rows, 7)).astype(np.int32)
    out[:, 0], out[:, 5], out[:, 6] = 18, 19, 0
    return out

  pixels = rng.integers(0, 256, (rows, 16, 16, 3)).astype(np.uint8)
  return {"image": pixels, "text": tokens(), "generic": tokens()}


def unlearning_batch(seed=0, rows=16):
  retain = half(2 * seed + 1, rows)
  return {
    "forget": half(2 * seed, rows),
    "retain": {"image": retain["image"], "text": retain["text"]},
  }


def optimizer_settings(learning_rate=1e-2):
  return ConfigDict(default.optimizer(learning_rate))


def sgd_settings(learning_rate=1e-2):
  """Without Adam, which would blow up the rounding of gradients that are zero but for it."""
  return ConfigDict(default.optimizer(learning_rate, name="sgd"))
