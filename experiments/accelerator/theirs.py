"""Runs a row with OpenCLIP, compiled by torch.compile; see `measure`."""

import numpy as np

from experiments.accelerator.rows import PRESET
from experiments.parity import openclip
from salmu_jax.data import images

torch = openclip.torch
OUT_OF_MEMORY = (torch.OutOfMemoryError,)
DEVICE = "cuda"


def make(row, captions):
  """Prepares a row, as `ours.make`."""
  torch._dynamo.reset()
  torch.cuda.empty_cache()
  torch.cuda.reset_peak_memory_stats()
  config = openclip.open_clip.get_model_config(openclip.PRESETS[PRESET])
  model = openclip.CLIP(**config).to(DEVICE)
  model.set_grad_checkpointing(row.remat == "blocks")
  size, context = model.visual.image_size[0], model.context_length
  pixels = torch.randint(256, (row.batch, 3, size, size), dtype=torch.uint8, device=DEVICE)
  tokens = torch.randint(model.vocab_size, (row.batch, context), device=DEVICE)
  mean, std = (
    torch.tensor(x, device=DEVICE)[:, None, None] * 255 for x in (images.MEAN, images.STD)
  )
  picture = lambda: (pixels.float() - mean) / std
  if row.what == "train":
    return _step(model, picture, tokens), _peak_gib
  model = model.to(torch.bfloat16).eval()
  encode = torch.compile(model.encode_image if row.what == "image" else model.encode_text)

  @torch.inference_mode()
  def call():
    if row.what == "image":
      return encode(picture().bfloat16(), normalize=True)
    if row.what == "text":
      return encode(tokens, normalize=True)
    whole = torch.from_numpy(captions.astype(np.int64)).to(DEVICE)
    parts = [encode(part, normalize=True) for part in whole.split(row.batch)]
    return torch.cat(parts).float().cpu().numpy()

  return call, _peak_gib


def _step(model, picture, tokens):
  loss_of = openclip.open_clip.ClipLoss()
  optimizer = openclip.adamw(model, 1e-5, 0.1, fused=True)
  compiled = torch.compile(model)

  def call():
    optimizer.zero_grad()
    with torch.autocast(DEVICE, torch.bfloat16):
      loss = loss_of(*compiled(picture(), tokens))
    loss.backward()
    optimizer.step()
    return loss

  return call


def wait(made):
  """Waits for the result of a call."""
  torch.cuda.synchronize()


def product(side):
  """A call that multiplies two square matrices in bfloat16."""
  x = torch.randn(side, side, dtype=torch.bfloat16, device=DEVICE)
  return lambda: x @ x


def about():
  """The device and the versions."""
  versions = {"torch": torch.__version__, "open_clip": openclip.open_clip.__version__}
  return {"device": torch.cuda.get_device_name(), "versions": versions}


def _peak_gib():
  """Peak GiB of device memory since `make`."""
  return torch.cuda.max_memory_allocated() / 2**30
