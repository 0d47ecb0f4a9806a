"""Memory of a ViT-B/16 pretraining step on v5e slices: python -m experiments.scaling.measure

Compiles the trainer's step ahead of time (`salmu_jax.aot.slices`) for every batch size, slice and
loss below, and writes memory and traffic to results.json after each. Needs requirements-tpu.txt,
but no TPU. The stored results were compiled with JAX_OPTIMIZATION_LEVEL=O0, in a quarter of an hour
on two cores; the default level takes ten times as long.
"""

import importlib.metadata
import os
import pathlib
import time

import jax

from configs import vit_b16_scratch
from salmu_jax.aot import slices
from salmu_jax.models import presets
from salmu_jax.report import markdown as md
from salmu_jax.runtime import files, progress

RESULTS = pathlib.Path(__file__).parent / "results.json"
SLICES = ("v5e:2x4", "v5e:8x8", "v5e:16x16")
BATCHES = (4096, 16384, 65536)
LOSSES = ("contrastive", "contrastive_ring")
# The most pairs that a chip embeds at once; a larger share of the batch is embedded in parts.
AT_ONCE = 256


def main():
  """Compiles the rows that results.json lacks."""
  jax.config.update("jax_platforms", "cpu")
  level = os.environ.get("JAX_OPTIMIZATION_LEVEL", "default")
  versions = {name: importlib.metadata.version(name) for name in ("jax", "libtpu")}
  about = {"preset": "vit_b16", "level": level, "versions": versions}
  rows = []
  if RESULTS.exists():
    kept = files.read_json(RESULTS)
    rows = kept["rows"] if {k: kept[k] for k in about} == about else []
  done = [(row["slice"], row["batch"], row["loss"]) for row in rows]
  for topology in SLICES:
    mesh = slices.describe(topology)
    for batch in BATCHES:
      for loss in LOSSES:
        if (topology, batch, loss) not in done:
          rows.append(measure(topology, mesh, batch, loss))
          progress.console.print(rows[-1])
          files.write_json(RESULTS, {**about, "rows": rows})


def measure(topology, mesh, batch, loss):
  """One row of the results."""
  config = vit_b16_scratch.get_config("finetune")
  accumulate = max(1, batch // mesh.size // AT_ONCE)
  config.pretrain.update(batch_size=batch, loss=loss)
  config.accumulate = accumulate
  began = time.monotonic()
  report = slices.compile_step(slices.steps(config, mesh)["pretrain"])
  row = {
    "slice": topology,
    "chips": mesh.size,
    "batch": batch,
    "loss": loss,
    "accumulate": accumulate,
    "compile_seconds": time.monotonic() - began,
    "fits": report is not None,
  }
  return row | (report._asdict() if report else {})


def section(path=RESULTS):
  """The README's table: GiB per chip, by batch size, slice and loss."""
  record = files.read_json(path)
  cells = {(row["batch"], row["chips"], row["loss"]): row for row in record["rows"]}
  chips = sorted({row["chips"] for row in record["rows"]})
  heads = [f"{count} chips, {name}" for count in chips for name in ("plain", "ring")]
  lines = [["batch", *heads], ["---:"] * (1 + len(heads))]
  for batch in sorted({row["batch"] for row in record["rows"]}):
    row = [_cell(cells.get((batch, count, loss))) for count in chips for loss in LOSSES]
    lines.append([f"{batch:,}", *row])
  hbm = slices.CHIPS[record["rows"][0]["slice"].split(":")[0]].hbm / 2**30
  return (
    f"{md.table(lines)}\nGiB per chip for a pretraining step of {presets_name(record)}; a v5e chip "
    f"has {hbm:.0f}. Brackets: gradient accumulation steps, used if a chip's share of the batch "
    f"exceeds {AT_ONCE} pairs. Compiled ahead of time by libtpu {record['versions']['libtpu']} at "
    f"optimisation level {record['level']}.\n"
  )


def presets_name(record):
  """The compiled model in words."""
  sizes = presets.PRESETS[record["preset"]]
  layers = f"{sizes.vision.layers} + {sizes.text.layers} layers"
  return f"{record['preset']} ({layers}, bfloat16, rematerialised blocks)"


def _cell(row):
  if row is None:
    return ""
  parts = f" ({row['accumulate']})" if row["accumulate"] > 1 else ""
  return f"{row['memory'] / 2**30:.1f}{parts}" if row["fits"] else f"no{parts}"


if __name__ == "__main__":
  main()
