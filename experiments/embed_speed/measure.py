"""Speed of our ViT-B/16 beside OpenCLIP's under PyTorch: python -m experiments.embed_speed.measure

Images a second, texts a second and one training step, on the CPU, float32, the same weights, inputs
and batch. Each side is a process of its own, so that neither works among the other's threads and memory,
and the two take turns; a turn begins with a call that is not counted, since memory that lay idle is slow to
get back. Needs requirements-torch.txt and an otherwise idle machine; a quarter of an hour on two cores. Writes
results.json.
"""

import importlib.metadata
import multiprocessing
import os
import pathlib
import statistics
import sys
import time

import numpy as np

from salmu_jax import files

RESULTS = pathlib.Path(__file__).parent / "results.json"
BATCH = {"image": 32, "text": 64, "train": 16}
TURNS, CALLS = 3, 3  # of each side, after a turn that is not counted; calls of a turn that are
UNIT = {"image": "images/s", "text": "texts/s", "train": "pairs/s in training"}
PACKAGES = ("jax", "jaxlib", "torch", "open_clip_torch")
RATE, DECAY = 1e-5, 0.1


def main():
  """Measures, checks that both did the same work, and writes results.json."""
  fresh = multiprocessing.get_context("spawn")
  sides = {}
  for name, make in (("salmu_jax", ours), ("open_clip", theirs)):
    sides[name], other_end = fresh.Pipe()
    fresh.Process(target=serve, args=(make, other_end), daemon=True).start()
    other_end.close()  # So that a side that died is noticed.
  rows = [compare(what, sides) for what in BATCH]
  for side in sides.values():
    side.send(None)
  found = {
    "cores": os.cpu_count(),
    "dtype": "float32",
    "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    "rows": rows,
  }
  files.write_json(RESULTS, found)


def serve(make, connection):
  """Does what it is asked once and CALLS times more; answers with the seconds of these, and the outcomes."""
  from experiments.parity import inputs, openclip

  tensors = inputs.draw(openclip.shapes("vit_b16", "openclip"), inputs.SEED)
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (max(BATCH.values()), 224, 224, 3), np.uint8)
  calls = make(tensors, pixels, openclip.tokens(inputs.strings(len(pixels), seed=2)))
  while what := connection.recv():
    seconds, values = [], [calls[what]()]
    for _ in range(CALLS):
      began = time.perf_counter()
      values.append(calls[what]())
      seconds.append(time.perf_counter() - began)
    connection.send((seconds, values))


def compare(what, sides):
  """Has the two sides do it in turn, and compares the seconds and what came out."""
  seconds, values = {name: [] for name in sides}, {name: [] for name in sides}
  for turn in range(1 + TURNS):
    for name, side in sides.items():
      side.send(what)
      took, came = side.recv()
      values[name] += came
      print(what, name, turn, " ".join(f"{each:.2f} s" for each in took), file=sys.stderr)
      seconds[name] += took if turn else []
  mine, other = (np.asarray(values[name]) for name in sides)
  apart = float(np.abs(mine - other).max())
  assert apart < 1e-3, f"{what}: the two sides differ by {apart}; they do not do the same work"
  median = {name: statistics.median(each) for name, each in seconds.items()}
  return {
    "what": UNIT[what],
    "batch": BATCH[what],
    "rate": {name: BATCH[what] / each for name, each in median.items()},
    "ratio": median["open_clip"] / median["salmu_jax"],
    "largest_difference": apart,
    "seconds": seconds,
  }


def ours(tensors, pixels, tokens):
  """{what: a call that does it once}; training goes on from call to call."""
  import jax

  from configs import default
  from salmu_jax import mesh as mesh_lib
  from salmu_jax import train
  from salmu_jax.data import images
  from salmu_jax.models import clip, statedict
  from salmu_jax.models.presets import PRESETS

  jax.config.update("jax_platforms", "cpu")  # As PyTorch, which is a CPU build here.
  sizes = PRESETS["vit_b16"]
  model = clip.CLIP(sizes)
  params = jax.device_put(statedict.from_tensors(tensors, sizes, "drawn"))
  image = jax.jit(
    lambda p, i: model.apply({"params": p}, images.normalise(i), method=clip.CLIP.encode_image)
  )
  text = jax.jit(lambda p, t: model.apply({"params": p}, t, method=clip.CLIP.encode_text))
  tx = train.make_optimizer(default.optimizer(RATE, warmup=0.0, end=1.0, weight_decay=DECAY), 1000)
  mesh = mesh_lib.make_mesh(jax.devices()[:1])
  step = train.jitted_pretrain_step(model, tx, mesh)
  state = [train.start_state(params, tx, mesh)]
  batch = {"image": pixels[: BATCH["train"]], "text": tokens[: BATCH["train"]]}

  def train_once():
    # The state is donated: what is passed in is gone afterwards.
    state[0], metrics = step(state[0], batch)
    return float(metrics["loss"])

  return {
    "image": lambda: np.asarray(image(params, pixels[: BATCH["image"]])),
    "text": lambda: np.asarray(text(params, tokens[: BATCH["text"]])),
    "train": train_once,
  }


def theirs(tensors, pixels, tokens):
  """The same for OpenCLIP: its loss, PyTorch's AdamW with the same settings."""
  from experiments.parity import openclip
  from salmu_jax.data import images

  torch = openclip.torch
  model = openclip.model(tensors)
  mean, std = (torch.tensor(x)[:, None, None] for x in (images.MEAN, images.STD))
  tokens = torch.from_numpy(tokens.astype(np.int64))
  loss_of = openclip.open_clip.ClipLoss()
  groups = [
    {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": DECAY},
    {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
  ]
  optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), eps=1e-6)

  def picture(rows):
    return (torch.from_numpy(pixels[:rows]).permute(0, 3, 1, 2).float() / 255 - mean) / std

  def train_once():
    image, text, scale = model(picture(BATCH["train"]), tokens[: BATCH["train"]])
    loss = loss_of(image, text, scale)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()

  def encode(call, rows):
    with torch.inference_mode():
      return call(rows).numpy()

  return {
    "image": lambda: encode(
      lambda x: model.encode_image(picture(x), normalize=True), BATCH["image"]
    ),
    "text": lambda: encode(lambda x: model.encode_text(tokens[:x], normalize=True), BATCH["text"]),
    "train": train_once,
  }


def section(path=RESULTS):
  """README's table of it."""
  found = files.read_json(path)
  versions = found["versions"]
  lines = [
    ["", "batch", "salmu_jax", "OpenCLIP", "ratio"],
    ["---", *["---:"] * 4],
    *(
      [
        row["what"],
        str(row["batch"]),
        *(f"{row['rate'][side]:.1f}" for side in ("salmu_jax", "open_clip")),
        f"{row['ratio']:.2f}",
      ]
      for row in found["rows"]
    ),
  ]
  table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
  return (
    f"{table}\n\nViT-B/16, {found['dtype']}, {found['cores']} CPU cores, jax {versions['jax']} against "
    f"torch {versions['torch']}, each in a process of its own, in turns within one run.\n"
  )


if __name__ == "__main__":
  main()
