"""CPU speed compared with OpenCLIP: python -m experiments.embed_speed.measure WORKDIR

For `mini` and ViT-B/16, measures images, full-context texts and captions embedded per second, and
one training step on captions. Captions come from the release in WORKDIR. Both sides run on the
CPU in float32 with the same weights, inputs and batches, once with the default allocator and once
with large pages. OpenCLIP embeds every text at the full context, as its users do.

Each side is a process of its own, so that they share no threads or memory. The two take turns. A
turn begins with an uncounted call, since idle memory is slow to get back. A product of two square
matrices takes turns with them; its best rate on either side is the machine's peak.

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
# Rows per call; both sides embed them in batches of AT_ONCE.
BATCHES = {
  "mini": {"image": 1024, "text": 1024, "captions": 4096, "train": 256},
  "vit_b16": {"image": 32, "text": 64, "captions": 256, "train": 16},
}
AT_ONCE = {"mini": 128, "vit_b16": 32}
SPLITS = ("sensitive", "retain_synth", "retain_real")  # whose captions are embedded
TURNS, CALLS = 3, 2  # counted turns of each side, after one uncounted; counted calls per turn
UNIT = {
  "image": "images/s",
  "text": "texts/s that fill the context",
  "captions": "captions/s",
  "train": "pairs/s in training",
}
PACKAGES = ("jax", "jaxlib", "torch", "open_clip_torch")


def main(argv=None):
  """Measures, checks that both sides did the same work, and writes results.json."""
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
  # glibc reads this once, when a process starts.
  os.environ["GLIBC_TUNABLES"] = ALLOCATORS[allocator]
  fresh, sides, processes = multiprocessing.get_context("spawn"), {}, []
  for name, make in (("salmu_jax", contenders.ours), ("open_clip", contenders.theirs)):
    sides[name], other_end = fresh.Pipe()
    processes.append(
      fresh.Process(target=serve, args=(make, workdir, preset, other_end), daemon=True)
    )
    processes[-1].start()
    other_end.close()  # Otherwise a dead side would go unnoticed.
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

  `mini` has no vocabulary of its own; it gets the release's.
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
  """Serves requests: makes the call once, then CALLS times with the clock running.

  Each answer is (seconds of the CALLS timed calls, results of all calls).
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
  """Runs `what` on both sides in turns: ({side: seconds}, largest difference of results)."""
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
  assert apart < 1e-3, f"{what}: the results of the two sides differ by {apart}, more than 1e-3"
  return seconds, apart


def section(path=RESULTS):
  """The README's table: rates with large pages, and the ratio without them."""
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
    # For captions we do less work than the count at the full context.
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
