"""Times implementations of attention: python -m experiments.embed_speed.attention

The attention of ViT-B/16's twelve image layers on 32 pictures, from the joint projection to the
joined heads, forward and with its gradient, on the CPU in float32. The implementations take turns.
Writes attention.json.
"""

import os
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "attention.json"
PICTURES, PLACES, HEADS, SIZE, LAYERS = 32, 197, 12, 64, 12
ROUNDS = 4  # after a warm-up round; the fastest counts


def heads_after_places(qkv):
  """q, k, v stay (B, T, H, D), and each product does its own transpose."""
  q, k, v = jnp.moveaxis(qkv, 2, 0)
  scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * SIZE**-0.5
  return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)


def heads_before_places(qkv):
  """One transpose to (3, B, H, T, D), as in salmu_jax.models.clip."""
  q, k, v = qkv.transpose(2, 0, 3, 1, 4)
  scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) * SIZE**-0.5
  return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores), v).transpose(0, 2, 1, 3)


def keys_after_dimensions(qkv):
  """As `heads_before_places`, with keys as (B, H, D, T)."""
  q, v = qkv[:, :, 0].transpose(0, 2, 1, 3), qkv[:, :, 2].transpose(0, 2, 1, 3)
  scores = jnp.einsum("bhqd,bhdk->bhqk", q, qkv[:, :, 1].transpose(0, 2, 3, 1)) * SIZE**-0.5
  return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores), v).transpose(0, 2, 1, 3)


def jax_nn(qkv):
  """JAX's own function."""
  return jax.nn.dot_product_attention(*jnp.moveaxis(qkv, 2, 0))


def one_picture_at_a_time(qkv):
  """A loop over the batch, which would be serial on an accelerator too."""
  return jax.lax.map(lambda picture: heads_before_places(picture[None])[0], qkv)


WAYS = (
  heads_after_places,
  heads_before_places,
  keys_after_dimensions,
  jax_nn,
  one_picture_at_a_time,
)


def main():
  """Measures, checks that all implementations agree, and writes attention.json."""
  jax.config.update("jax_platforms", "cpu")
  shape = (PICTURES, PLACES, 3, HEADS, SIZE)
  qkv = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
  calls = {
    (way.__name__, what): jax.jit(call)
    for way in WAYS
    for what, call in (
      ("forward", way),
      ("with_gradient", jax.grad(lambda x, way=way: jnp.sum(way(x) ** 2))),
    )
  }
  seconds = {key: [] for key in calls}
  for turn in range(ROUNDS + 1):
    for key, call in calls.items():
      began = time.perf_counter()
      output = jax.block_until_ready(call(qkv))
      if turn:
        seconds[key].append(LAYERS * (time.perf_counter() - began))
      else:
        np.testing.assert_allclose(output, calls[WAYS[0].__name__, key[1]](qkv), atol=1e-4)
  rows = {way.__name__: {} for way in WAYS}
  for (way, what), times in seconds.items():
    rows[way][what] = min(times)
  about = {"cores": os.cpu_count(), "pictures": PICTURES, "layers": LAYERS, "jax": jax.__version__}
  files.write_json(RESULTS, {**about, "seconds": rows})


if __name__ == "__main__":
  main()
