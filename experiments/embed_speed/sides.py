"""The work of each side, in a process of its own; see `measure`."""

import numpy as np

from salmu_jax import defaults

RATE, DECAY = 1e-5, 0.1
SIDE = 4096  # of the square product


def ours(sizes, tensors, inputs, batch):
  """{what: a call that does it once}; each training call continues from the last.

  Args:
    sizes: of the model.
    tensors: its weights, in OpenCLIP's layout.
    inputs: {"image": pixels, "text" and "captions": tokens}.
    batch: {what: rows per call, "at once": rows per embedded batch}.
  """
  import jax
  import jax.numpy as jnp

  from salmu_jax.data import images
  from salmu_jax.evaluate import embeddings
  from salmu_jax.interop import statedict
  from salmu_jax.models import clip

  jax.config.update("jax_platforms", "cpu")  # As for PyTorch, which is a CPU build here.
  model = clip.CLIP(sizes)
  params = jax.device_put(statedict.from_tensors(tensors, sizes, "drawn"))
  image = jax.jit(
    lambda p, i: model.apply({"params": p}, images.normalise(i), method=clip.CLIP.encode_image)
  )
  text = jax.jit(lambda p, t: model.apply({"params": p}, t, method=clip.CLIP.encode_text))

  def parts(encode, rows):
    firsts = range(0, len(rows), batch["at once"])
    done = [encode(params, rows[first : first + batch["at once"]]) for first in firsts]
    return np.concatenate(done)

  square = jnp.ones((SIDE, SIDE))
  multiply = jax.jit(lambda x: x @ x)
  return {
    "product": lambda: float(multiply(square)[0, 0]),
    "image": lambda: parts(image, inputs["image"]),
    "text": lambda: parts(text, inputs["text"]),
    "captions": lambda: embeddings.embed_texts(
      lambda tokens: np.asarray(text(params, tokens)), inputs["captions"], batch["at once"]
    ),
    "train": _our_step(model, params, inputs, batch["train"]),
  }


def _our_step(model, params, inputs, rows):
  import jax

  from salmu_jax import train
  from salmu_jax.runtime import sharding
  from salmu_jax.train import optimizers

  tx = optimizers.make_optimizer(
    defaults.optimizer(RATE, warmup=0.0, end=1.0, weight_decay=DECAY), 1000
  )
  mesh = sharding.make_mesh(jax.devices()[:1])
  pairs = {"image": inputs["image"][:rows], "text": inputs["captions"][:rows]}
  jitted = lambda groups: train.jitted_pretrain_step(model, tx, mesh, groups=groups)
  texts = lambda: {"text": inputs["captions"]}
  batches, step, _ = train.cutting_step(jitted, mesh, texts, rows)
  batch = next(batches(iter([pairs])))
  state = [train.start_state(params, tx, mesh)]

  def train_once():
    # The state is donated: the one passed in is gone afterwards.
    state[0], metrics = step(state[0], batch)
    return float(metrics["loss"])

  return train_once


def theirs(sizes, tensors, inputs, batch):
  """As `ours`, for OpenCLIP, with its loss and PyTorch's AdamW at the same settings."""
  from experiments.parity import openclip
  from salmu_jax.data import images
  from salmu_jax.interop import modelconfig

  torch = openclip.torch
  model = openclip.model(tensors, modelconfig.openclip(sizes)["model_cfg"])
  mean, std = (torch.tensor(x)[:, None, None] for x in (images.MEAN, images.STD))
  pixels = torch.from_numpy(inputs["image"])
  tokens = {name: torch.from_numpy(inputs[name].astype(np.int64)) for name in ("text", "captions")}
  loss_of = openclip.open_clip.ClipLoss()
  optimizer = openclip.adamw(model, RATE, DECAY)

  def picture(pixels):
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std

  def train_once():
    image, text, scale = model(
      picture(pixels[: batch["train"]]), tokens["captions"][: batch["train"]]
    )
    loss = loss_of(image, text, scale)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()

  def encode(call, rows):
    with torch.inference_mode():
      return torch.cat([call(part) for part in rows.split(batch["at once"])]).numpy()

  texts = lambda rows: model.encode_text(rows, normalize=True)
  square = torch.ones((SIDE, SIDE))
  return {
    "product": lambda: (square @ square)[0, 0].item(),
    "image": lambda: encode(lambda rows: model.encode_image(picture(rows), normalize=True), pixels),
    "text": lambda: encode(texts, tokens["text"]),
    "captions": lambda: encode(texts, tokens["captions"]),
    "train": train_once,
  }
