"""Runs a row with this project; see `measure`."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.accelerator.rows import PRESET
from salmu_jax import train
from salmu_jax.data import images
from salmu_jax.evaluate import embeddings
from salmu_jax.models import clip
from salmu_jax.models.presets import PRESETS
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers

OUT_OF_MEMORY = (jax.errors.JaxRuntimeError,)


def make(row, captions):
  """Prepares a row.

  Args:
    row: a Row.
    captions: (N, L) tokens of captions.

  Returns:
    (call, memory): `call()` does the row's work once, without waiting for its end; `memory()`
    returns the GiB of device memory that it takes, or None if it consists of several programs.
  """
  jax.clear_caches()
  model = clip.CLIP(
    PRESETS[PRESET], jnp.bfloat16, remat=row.remat, scan=row.scan, attention=row.attention
  )
  mesh = sharding.make_mesh(jax.devices()[:1])
  params = train.init_params(model, 0, mesh)
  rows = _rows(row, model.sizes, captions)
  if row.what.startswith("train"):
    return _step(row, model, params, mesh, rows, captions)
  method = clip.CLIP.encode_image if row.what == "image" else clip.CLIP.encode_text
  read = images.normalise if row.what == "image" else lambda tokens: tokens
  encode = jax.jit(lambda p, x: model.apply({"params": p}, read(x), method=method))
  if row.what == "captions":
    whole = lambda tokens: np.asarray(encode(params, tokens))
    return lambda: embeddings.embed_texts(whole, captions, row.batch), lambda: None
  batch = sharding.put_batch(rows[row.what], mesh)
  encode = encode.lower(params, batch).compile()
  return lambda: encode(params, batch), lambda: _gib(encode)


def wait(made):
  """Waits for the result of a call."""
  jax.block_until_ready(made)


def product(side):
  """A call that multiplies two square matrices in bfloat16."""
  x = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
  multiply = jax.jit(lambda x: x @ x)
  return lambda: multiply(x)


def about():
  """The device and the versions."""
  return {"device": jax.devices()[0].device_kind, "versions": {"jax": jax.__version__}}


def _rows(row, sizes, captions):
  rng, size = np.random.default_rng(0), sizes.image_size
  drawn = rng.integers(len(captions), size=row.batch)
  full = rng.integers(0, sizes.vocab_size, (row.batch, sizes.context_length), np.int32)
  return {
    "image": rng.integers(0, 256, (row.batch, size, size, 3), np.uint8),
    "text": captions[drawn] if row.what == "train on captions" else full,
  }


def _step(row, model, params, mesh, rows, captions):
  tx = optimizers.make_optimizer(optimizers.settings(1e-5, weight_decay=0.1), 10**6)
  objective = train.OBJECTIVES[row.loss](mesh)
  jitted = lambda groups: train.jitted_pretrain_step(model, tx, mesh, objective, groups=groups)
  texts = (lambda: {"text": captions}) if row.what == "train on captions" else None
  batches, _, short = train.cutting_step(jitted, mesh, texts, row.batch)
  if texts and next(batches(iter([rows]))).whole:
    raise ValueError("The drawn captions do not fit their length groups. Draw others.")
  state, batch = [train.start_state(params, tx, mesh)], sharding.put_batch(rows, mesh)
  step = short.lower(state[0], batch).compile()

  def call():
    # The state is donated: the one passed in is gone afterwards.
    state[0], metrics = step(state[0], batch)
    return metrics

  return call, lambda: _gib(step)


def _gib(compiled):
  planned = compiled.memory_analysis()
  held = planned.argument_size_in_bytes + planned.output_size_in_bytes
  return (held + planned.temp_size_in_bytes - planned.alias_size_in_bytes) / 2**30
