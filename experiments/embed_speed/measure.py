"""Speed of our models beside OpenCLIP's under PyTorch: python -m experiments.embed_speed.measure

Measures images a second, texts a second and one training step of `tiny` and of ViT-B/16. Both
sides run on the CPU in float32 with the same weights, inputs and batch, once with the allocator as
it comes and once with large pages.

Each side is a process of its own, so that neither works among the other's threads and memory. The
two take turns. A turn begins with a call that is not counted, since memory that lay idle is slow to
get back. A product of two square matrices takes turns with them: the best rate that it reaches on
either side is this machine's peak.

Needs requirements-torch.txt and an otherwise idle machine; takes some twenty minutes on two cores.
Writes results.json.
"""

import importlib.metadata
import multiprocessing
import os
import pathlib
import statistics
import sys
import time

import numpy as np

from salmu_jax import defaults
from salmu_jax.models import flops
from salmu_jax.models.presets import PRESETS
from salmu_jax.report import markdown as md
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results.json"
ALLOCATORS = {"as it comes": "", "large pages": "glibc.malloc.hugetlb=1"}  # GLIBC_TUNABLES
BATCHES = {
  "tiny": {"image": 512, "text": 512, "train": 128},
  "vit_b16": {"image": 32, "text": 64, "train": 16},
}
TURNS, CALLS = 3, 2  # of each side, after a turn that is not counted; calls of a turn that are
UNIT = {"image": "images/s", "text": "texts/s", "train": "pairs/s in training"}
PACKAGES = ("jax", "jaxlib", "torch", "open_clip_torch")
RATE, DECAY = 1e-5, 0.1
VOCABULARY = 1893  # of mini
SIDE = 4096  # of the square product


def main():
  """Measures, checks that both did the same work, and writes results.json."""
  record = {
    "cores": os.cpu_count(),
    "dtype": "float32",
    "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    "rows": [row for preset in BATCHES for name in ALLOCATORS for row in rows(preset, name)],
  }
  files.write_json(RESULTS, record)


def rows(preset, allocator):
  """The rows of results.json for a preset under one allocator: one for each key of UNIT."""
  # glibc reads it once, when a process starts.
  os.environ["GLIBC_TUNABLES"] = ALLOCATORS[allocator]
  fresh, sides, processes = multiprocessing.get_context("spawn"), {}, []
  for name, make in (("salmu_jax", ours), ("open_clip", theirs)):
    sides[name], other_end = fresh.Pipe()
    processes.append(fresh.Process(target=serve, args=(make, preset, other_end), daemon=True))
    processes[-1].start()
    other_end.close()  # So that a side that died is noticed.
  turns = {what: compare(what, sides) for what in ("product", *UNIT)}
  for side, process in zip(sides.values(), processes, strict=True):
    side.send(None)
    process.join()
  peak = 2 * SIDE**3 / min(min(times) for times in turns["product"][0].values())
  return [row(preset, allocator, what, peak, *turns[what]) for what in UNIT]


def row(preset, allocator, what, peak, seconds, apart):
  """One row: rates, their ratio, and the FLOP/s of each side as a share of `peak`."""
  sizes, batch = sizes_of(preset), BATCHES[preset][what]
  operations = {
    "image": batch * flops.image(sizes),
    "text": batch * flops.text(sizes),
    "train": flops.training_step(sizes, batch),
  }[what]
  median = {name: statistics.median(times) for name, times in seconds.items()}
  return {
    "preset": preset,
    "allocator": allocator,
    "what": UNIT[what],
    "batch": batch,
    "rate": {name: batch / duration for name, duration in median.items()},
    "ratio": median["open_clip"] / median["salmu_jax"],
    "peak_flops_a_second": peak,
    "share_of_peak": {name: operations / duration / peak for name, duration in median.items()},
    "largest_difference": apart,
    "seconds": seconds,
  }


def sizes_of(preset):
  """The sizes of a preset. `tiny` has no vocabulary of its own and gets that of mini."""
  return PRESETS[preset]._replace(vocab_size=PRESETS[preset].vocab_size or VOCABULARY)


def serve(make, preset, connection):
  """Makes each requested call once, then CALLS times more with the clock running.

  The answer to a request is these CALLS times in seconds, and the outcomes of all calls.
  """
  from experiments.parity import inputs, openclip
  from salmu_jax.interop import modelconfig

  sizes, rng = sizes_of(preset), np.random.default_rng(0)
  config = modelconfig.openclip(sizes)["model_cfg"]
  tensors = inputs.draw(openclip.shapes_of(config), inputs.SEED)
  rows, size = max(BATCHES[preset].values()), sizes.image_size
  pixels = rng.integers(0, 256, (rows, size, size, 3), np.uint8)
  tokens = rng.integers(0, sizes.vocab_size, (rows, sizes.context_length), np.int32)
  calls = make(preset, tensors, pixels, tokens)
  while what := connection.recv():
    seconds, values = [], [calls[what]()]
    for _ in range(CALLS):
      began = time.perf_counter()
      values.append(calls[what]())
      seconds.append(time.perf_counter() - began)
    connection.send((seconds, values))


def compare(what, sides):
  """Lets the sides do `what` in turns: ({side: seconds}, the largest difference of outcomes)."""
  seconds, values = {name: [] for name in sides}, {name: [] for name in sides}
  for turn in range(1 + TURNS):
    for name, side in sides.items():
      side.send(what)
      took, came = side.recv()
      values[name] += came
      print(what, name, turn, " ".join(f"{duration:.3f} s" for duration in took), file=sys.stderr)
      seconds[name] += took if turn else []
  mine, other = (np.asarray(values[name]) for name in sides)
  apart = float(np.abs(mine - other).max())
  assert apart < 1e-3, f"{what}: the two sides differ by {apart}; they do not do the same work"
  return seconds, apart


def ours(preset, tensors, pixels, tokens):
  """{what: a call that does it once}; training goes on from call to call."""
  import jax
  import jax.numpy as jnp

  from salmu_jax import train
  from salmu_jax.data import images
  from salmu_jax.interop import statedict
  from salmu_jax.models import clip
  from salmu_jax.runtime import sharding
  from salmu_jax.train import optimizers

  jax.config.update("jax_platforms", "cpu")  # As PyTorch, which is a CPU build here.
  sizes, rows = sizes_of(preset), BATCHES[preset]
  model = clip.CLIP(sizes)
  params = jax.device_put(statedict.from_tensors(tensors, sizes, "drawn"))
  image = jax.jit(
    lambda p, i: model.apply({"params": p}, images.normalise(i), method=clip.CLIP.encode_image)
  )
  text = jax.jit(lambda p, t: model.apply({"params": p}, t, method=clip.CLIP.encode_text))
  tx = optimizers.make_optimizer(
    defaults.optimizer(RATE, warmup=0.0, end=1.0, weight_decay=DECAY), 1000
  )
  mesh = sharding.make_mesh(jax.devices()[:1])
  step = train.jitted_pretrain_step(model, tx, mesh)
  state = [train.start_state(params, tx, mesh)]
  batch = {"image": pixels[: rows["train"]], "text": tokens[: rows["train"]]}

  def train_once():
    # The state is donated: what is passed in is gone afterwards.
    state[0], metrics = step(state[0], batch)
    return float(metrics["loss"])

  square = jnp.ones((SIDE, SIDE))
  multiply = jax.jit(lambda x: x @ x)
  return {
    "product": lambda: float(multiply(square)[0, 0]),
    "image": lambda: np.asarray(image(params, pixels[: rows["image"]])),
    "text": lambda: np.asarray(text(params, tokens[: rows["text"]])),
    "train": train_once,
  }


def theirs(preset, tensors, pixels, tokens):
  """The same for OpenCLIP: its loss, PyTorch's AdamW with the same settings."""
  from experiments.parity import openclip
  from salmu_jax.data import images
  from salmu_jax.interop import modelconfig

  torch = openclip.torch
  batch = BATCHES[preset]
  model = openclip.model(tensors, modelconfig.openclip(sizes_of(preset))["model_cfg"])
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
    image, text, scale = model(picture(batch["train"]), tokens[: batch["train"]])
    loss = loss_of(image, text, scale)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()

  def encode(call, rows):
    with torch.inference_mode():
      return call(rows).numpy()

  square = torch.ones((SIDE, SIDE))
  return {
    "product": lambda: (square @ square)[0, 0].item(),
    "image": lambda: encode(
      lambda x: model.encode_image(picture(x), normalize=True), batch["image"]
    ),
    "text": lambda: encode(lambda x: model.encode_text(tokens[:x], normalize=True), batch["text"]),
    "train": train_once,
  }


def section(path=RESULTS):
  """README's table of it: rates under large pages, and the ratio without them."""
  record = files.read_json(path)
  versions = record["versions"]
  plain, paged = ([row for row in record["rows"] if row["allocator"] == a] for a in ALLOCATORS)
  lines = [
    ["", "", "batch", "salmu_jax", "OpenCLIP", "ratio", "share of peak",
     "OpenCLIP's", "ratio, pages as they come"],
    ["---", "---", *["---:"] * 7],
  ]  # fmt: skip
  for other, row in zip(plain, paged, strict=True):
    rates = [f"{row['rate'][side]:.4g}" for side in row["rate"]]
    shares = [f"{row['share_of_peak'][side]:.0%}" for side in row["rate"]]
    lines.append(
      [f"`{row['preset']}`", row["what"], str(row["batch"]), *rates, f"{row['ratio']:.2f}"]
    )
    lines[-1] += [*shares, f"{other['ratio']:.2f}"]
  return (
    f"{md.table(lines)}\n{record['dtype']}, {record['cores']} CPU cores, jax {versions['jax']} "
    f"against torch {versions['torch']}, each in a process of its own, in turns within one run; "
    "peak: the fastest square matrix product of either in that run.\n"
  )


if __name__ == "__main__":
  main()
