"""A CLIP of a few thousand parameters, its batches, and the settings of a short run."""

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from salmu_jax import defaults
from salmu_jax.models import clip
from salmu_jax.models.clip import CLIP, Sizes, Tower

SIZES = Sizes(8, 16, 8, Tower(12, 1, 3), Tower(8, 1, 2), context_length=7, vocab_size=20)
MODEL = CLIP(SIZES)
INIT = jax.jit(clip.init, static_argnums=(0, 1))
PARAMS = INIT(MODEL, 0)


class StandIn:
  """Two towers of one matrix each. It compiles at once, for tests that need no architecture."""

  def apply(self, variables, picture, text, generic=None, surrogate=None):
    params = variables["params"]
    pixels = picture.reshape(len(picture), -1)
    image = jnp.tanh(
      pixels @ params["visual"]["proj"]["kernel"] + params["visual"]["proj"]["bias"][None]
    )
    words = lambda tokens: params["text"]["token_embedding"]["embedding"][tokens].mean(axis=1)
    texts = lambda tokens: clip.unit(words(tokens) @ params["text"]["text_projection"])
    scale = jnp.exp(params["logit_scale"])
    return clip.Embeddings(
      clip.unit(image),
      texts(text),
      scale,
      None if generic is None else texts(generic),
      surrogate=None if surrogate is None else jax.vmap(texts)(surrogate),
    )


STAND_IN = StandIn()


def stand_in_params(seed=0):
  """Parameters of the stand-in, under names as CLIP's."""
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape) * shape[0] ** -0.5, jnp.float32)
  return {
    "visual": {"proj": {"kernel": draw(16 * 16 * 3, 8), "bias": draw(8)}},
    "text": {"token_embedding": {"embedding": draw(20, 12)}, "text_projection": draw(12, 8)},
    "logit_scale": jnp.float32(1.5),
  }


def half(seed, rows=16):
  """A batch {"image", "text", "generic", "surrogate"} of random pixels and tokens."""
  rng = np.random.default_rng(seed)

  def tokens():
    ids = rng.integers(1, 18, (rows, 7)).astype(np.int32)
    ids[:, 0], ids[:, 5], ids[:, 6] = 18, 19, 0
    return ids

  pixels = rng.integers(0, 256, (rows, 16, 16, 3)).astype(np.uint8)
  batch = {"image": pixels, "text": tokens(), "generic": tokens()}
  return batch | {"surrogate": np.stack([tokens(), tokens()], axis=1)}


def unlearning_batch(seed=0, rows=16):
  retain = half(2 * seed + 1, rows)
  return {
    "forget": half(2 * seed, rows),
    "retain": {"image": retain["image"], "text": retain["text"]},
  }


def optimizer_settings(learning_rate=1e-2):
  return ConfigDict(defaults.optimizer(learning_rate))


def sgd_settings(learning_rate=1e-2):
  """Plain SGD: Adam would magnify the rounding errors of gradients that should be zero."""
  return ConfigDict(defaults.optimizer(learning_rate, name="sgd"))
