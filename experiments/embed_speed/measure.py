"""Speed of our models beside OpenCLIP's under PyTorch: python -m experiments.embed_speed.measure
WORKDIR

Measures images a second, texts a second that fill the context, captions of the release in WORKDIR
a second, and one training step on such captions, of `mini` and of ViT-B/16. Both sides run on the
CPU in float32 with the same weights, inputs and batch, once with the allocator as it comes and once
with large pages. OpenCLIP embeds every text at the full context, as its users do.

Each side is a process of its own, so that neither works among the other's threads and memory. The
two take turns. A turn begins with a call that is not counted, since memory that lay idle is slow to
get back. A product of two square matrices takes turns with them: the best rate that it reaches on
either side is this machine's peak.

Needs requirements-torch.txt and an otherwise idle machine; takes some twenty minutes on two cores.
Writes results.json.
"""

import argparse
import importlib.metadata
import multiprocessing
import os
import pathlib
import statistics
import sys
import time

import numpy as np

from experiments.embed_speed import sides as contenders
from salmu_jax.data import releases, tokenizers
from salmu_jax.models import flops
from salmu_jax.models.presets import PRESETS
from salmu_jax.report import markdown as md
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results.json"
ALLOCATORS = {"as it comes": "", "large pages": "glibc.malloc.hugetlb=1"}  # GLIBC_TUNABLES
# Rows of a call; embedded in batches of AT_ONCE, on both sides.
BATCHES = {
  "mini": {"image": 1024, "text": 1024, "captions": 4096, "train": 256},
  "vit_b16": {"image": 32, "text": 64, "captions": 256, "train": 16},
}
AT_ONCE = {"mini": 128, "vit_b16": 32}
SPLITS = ("sensitive", "retain_synth", "retain_real")  # whose captions are embedded
TURNS, CALLS = 3, 2  # of each side, after a turn that is not counted; calls of a turn that are
UNIT = {
  "image": "images/s",
  "text": "texts/s that fill the context",
  "captions": "captions/s",
  "train": "pairs/s in training",
}
PACKAGES = ("jax", "jaxlib", "torch", "open_clip_torch")


def main(argv=None):
  """Measures, checks that both did the same work, and writes results.json."""
  parser = argparse.ArgumentParser(prog="python -m experiments.embed_speed.measure")
  parser.add_argument("workdir", type=pathlib.Path, help="of a mini run, for its release")
  workdir = parser.parse_args(argv).workdir
  record = {
    "cores": os.cpu_count(),
    "dtype": "float32",
    "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    "rows": [
      row for preset in BATCHES for name in ALLOCATORS for row in rows(workdir, preset, name)
    ],
  }
  files.write_json(RESULTS, record)


def rows(workdir, preset, allocator):
  """The rows of results.json for a preset under one allocator: one for each key of UNIT."""
  # glibc reads it once, when a process starts.
  os.environ["GLIBC_TUNABLES"] = ALLOCATORS[allocator]
  fresh, sides, processes = multiprocessing.get_context("spawn"), {}, []
  for name, make in (("salmu_jax", contenders.ours), ("open_clip", contenders.theirs)):
    sides[name], other_end = fresh.Pipe()
    processes.append(
      fresh.Process(target=serve, args=(make, workdir, preset, other_end), daemon=True)
    )
    processes[-1].start()
    other_end.close()  # So that a side that died is noticed.
  turns = {what: compare(what, sides) for what in ("product", *UNIT)}
  for side, process in zip(sides.values(), processes, strict=True):
    side.send(None)
    process.join()
  peak = 2 * contenders.SIDE**3 / min(min(times) for times in turns["product"][0].values())
  return [row(preset, allocator, what, peak, *turns[what]) for what in UNIT]


def row(preset, allocator, what, peak, seconds, apart):
  """One row: rates, their ratio, and the FLOP/s of each side as a share of `peak`."""
  sizes, batch = PRESETS[preset], BATCHES[preset][what]
  operations = {
    "image": batch * flops.image(sizes),
    "text": batch * flops.text(sizes),
    "captions": batch * flops.text(sizes),
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


def captions(workdir, preset, count):
  """(count, L) tokens of captions of the release, and the sizes of the preset.

  `mini` has no vocabulary of its own and gets that of the release.
  """
  release, sizes = releases.open_release(workdir / "release"), PRESETS[preset]
  texts = [text for split in SPLITS for text in releases.columns(release, split)["text"]]
  words = (
    tokenizers.clip_tokenizer(sizes.context_length)
    if sizes.vocab_size
    else tokenizers.compact_tokenizer(sizes.context_length, texts)
  )
  drawn = np.random.default_rng(0).permutation(len(texts))[:count]
  return words([texts[row] for row in drawn]), sizes._replace(vocab_size=words.vocab_size)


def serve(make, workdir, preset, connection):
  """Makes each requested call once, then CALLS times more with the clock running.

  The answer to a request is these CALLS times in seconds, and the outcomes of all calls.
  """
  from experiments.parity import inputs, openclip
  from salmu_jax.interop import modelconfig

  own, sizes = captions(workdir, preset, BATCHES[preset]["captions"])
  rng = np.random.default_rng(0)
  config = modelconfig.openclip(sizes)["model_cfg"]
  tensors = inputs.draw(openclip.shapes_of(config), inputs.SEED)
  batch, size = BATCHES[preset], sizes.image_size
  inputs_ = {
    "image": rng.integers(0, 256, (batch["image"], size, size, 3), np.uint8),
    "text": rng.integers(0, sizes.vocab_size, (batch["text"], sizes.context_length), np.int32),
    "captions": own,
  }
  calls = make(sizes, tensors, inputs_, batch | {"at once": AT_ONCE[preset]})
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


def section(path=RESULTS):
  """README's table of it: rates under large pages, and the ratio without them."""
  record = files.read_json(path)
  versions = record["versions"]
  plain, paged = ([row for row in record["rows"] if row["allocator"] == a] for a in ALLOCATORS)
  lines = [
    ["", "", "batch", "salmu_jax", "OpenCLIP", "ratio", "share of peak",
     "share of peak, OpenCLIP", "ratio, default pages"],
    ["---", "---", *["---:"] * 7],
  ]  # fmt: skip
  for other, row in zip(plain, paged, strict=True):
    rates = [f"{row['rate'][side]:.4g}" for side in row["rate"]]
    # Ours does less of these than the count at the full context says.
    whole = row["what"] in (UNIT["image"], UNIT["text"])
    shares = [f"{row['share_of_peak'][side]:.0%}" if whole else "" for side in row["rate"]]
    lines.append(
      [f"`{row['preset']}`", row["what"], str(row["batch"]), *rates, f"{row['ratio']:.2f}"]
    )
    lines[-1] += [*shares, f"{other['ratio']:.2f}"]
  return (
    f"{md.table(lines)}\n{record['dtype']}, {record['cores']} CPU cores, jax {versions['jax']} "
    f"and torch {versions['torch']}, each in a process of its own, taking turns within one run. "
    "Rates and shares are with large memory pages. Peak is the fastest square matrix product of "
    "either side in that run.\n"
  )


if __name__ == "__main__":
  main()
