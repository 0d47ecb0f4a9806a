"""ViT-B/16 on one GPU, compared with OpenCLIP: python -m experiments.accelerator.measure WORKDIR

Times embedding and pretraining steps in bfloat16, by batch size, attention, rematerialisation and
loss. OpenCLIP is compiled by torch.compile, trains under bfloat16 autocast with the fused AdamW,
and embeds with bfloat16 weights. The two sides run one after the other, each in a process of its
own, on the same kind of GPU. Each begins with a square matrix product in bfloat16, whose rate is
the measured peak.

Captions come from the release in WORKDIR. Needs an NVIDIA GPU, jax with CUDA, PyTorch with
CUDA and open_clip. Writes results.json after every row; rerun to resume.
"""

import argparse
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from experiments.accelerator.rows import PRESET, ROWS, UNIT, Row
from experiments.embed_speed.measure import captions
from salmu_jax.models import flops
from salmu_jax.models.presets import PRESETS
from salmu_jax.report import markdown as md
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results.json"
# Side of a Row -> the module that runs it.
SIDES = {"salmu_jax": "ours", "open_clip": "theirs"}
OURS, THEIRS = SIDES
CAPTIONS = 8192
SIDE = 8192  # of the square product
TURNS, SECONDS = 3, 1.0  # counted turns of each row, and the shortest time of a turn


def main(argv=None):
  """Measures both sides, each in its own process."""
  parser = argparse.ArgumentParser(prog="python -m experiments.accelerator.measure")
  parser.add_argument("workdir", type=pathlib.Path, help="of a mini run, for its release")
  parser.add_argument("--side", choices=SIDES, help="measure only this side, in this process")
  parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
  args = parser.parse_args(argv)
  if args.side:
    return measure_side(args.side, args.workdir, args.results)
  for side in SIDES:
    module = "experiments.accelerator.measure"
    options = [f"--side={side}", f"--results={args.results}"]
    subprocess.run([sys.executable, "-m", module, str(args.workdir), *options], check=True)


def measure_side(name, workdir, results):
  """Measures the rows of a side that are not in the results yet."""
  # Set before JAX starts: some rows need nearly all of the GPU's memory.
  os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")
  side = importlib.import_module(f"experiments.accelerator.{SIDES[name]}")
  record = files.read_json(results) if results.exists() else {"sides": {}, "rows": []}
  known = [{key: row[key] for key in Row._fields} for row in record["rows"]]
  rows = [row for row in ROWS if row.side == name and row._asdict() not in known]
  if not rows:
    return
  duration = seconds_of(side, side.product(SIDE))
  about = side.about() | {"peak_flops_a_second": 2 * SIDE**3 / statistics.median(duration)}
  before = record["sides"].setdefault(name, about)
  for key in ("device", "versions"):
    assert about[key] == before[key], f"{results} was measured with {before}, and this is {about}"
  tokens, _ = captions(workdir, PRESET, CAPTIONS)
  for row in rows:
    measured = row._asdict() | measure_row(side, row, tokens)
    print(json.dumps(measured), flush=True)
    record["rows"].append(measured)
    files.write_json(results, record)


def measure_row(side, row, tokens):
  """A row's rates, memory and seconds; only `out_of_memory` if it does not fit."""
  try:
    began = time.perf_counter()
    call, memory = side.make(row, tokens)
    side.wait(call())
    compiled = time.perf_counter() - began
    seconds = seconds_of(side, call)
  except side.OUT_OF_MEMORY as error:
    if "memory" not in str(error).lower():
      raise
    return {"out_of_memory": True}
  done = CAPTIONS if row.what == "captions" else row.batch
  return {
    "rate": done / statistics.median(seconds),
    "flops_a_second": operations(row.what, done) / statistics.median(seconds),
    "gib": memory(),
    "seconds": seconds,
    "seconds_to_first": compiled,
  }


def operations(what, rows):
  """Model FLOPs of a row's work, at the full context."""
  sizes = PRESETS[PRESET]
  if what.startswith("train"):
    return flops.training_step(sizes, rows)
  return rows * (flops.image(sizes) if what == "image" else flops.text(sizes))


def seconds_of(side, call):
  """[seconds per call] of each turn; within a turn, calls follow each other without waiting."""
  side.wait(call())
  began = time.perf_counter()
  side.wait(call())
  calls = max(2, round(SECONDS / (time.perf_counter() - began)))
  seconds = []
  for _ in range(TURNS):
    began = time.perf_counter()
    for _ in range(calls):
      made = call()
    side.wait(made)
    seconds.append((time.perf_counter() - began) / calls)
  return seconds


def section(path=RESULTS):
  """The README's table: our rows, each next to OpenCLIP's row of the same work."""
  record = files.read_json(path)
  own, other = (record["sides"][side] for side in SIDES)
  lines = [
    ["", "batch", "attention", "remat", "loss", "salmu_jax", "OpenCLIP", "ratio", "GiB",
     "GiB, OpenCLIP", "share of measured matmul peak", "share of datasheet peak"],
    ["---", "---:", "---", "---", "---", *["---:"] * 7],
  ]  # fmt: skip
  peaks = own["peak_flops_a_second"], flops.PEAKS.get(own["device"])
  for row in _in_order(record["rows"]):
    how = [row["attention"], row["remat"], row["loss"] if row["what"].startswith("train") else ""]
    same = _same(row, record["rows"])
    lines.append([UNIT[row["what"]], f"{row['batch']:,}", *how, *_cells(row, same, peaks)])
  versions = {**own["versions"], **other["versions"]}
  product, sheet = (f"{peak / 1e12:.0f} TFLOP/s" if peak else "unknown" for peak in peaks)
  return (
    f"{md.table(lines)}\nViT-B/16 in bfloat16 on one {own['device']}, with jax {versions['jax']}; "
    f"OpenCLIP {versions['open_clip']} with torch {versions['torch']} on a GPU of the same kind. "
    "Shares are our model FLOP/s, at the full context and without rematerialised work. Measured "
    f"peak, of a square matrix product in the same process: {product}; datasheet peak: {sheet}.\n"
  )


def _in_order(rows):
  """Our own rows, in the order of ROWS."""
  by_row = {Row(**{key: row[key] for key in Row._fields}): row for row in rows}
  return [by_row[row] for row in ROWS if row.side == OURS and row in by_row]


def _same(row, rows):
  """OpenCLIP's row of the same work, or None. It trains at the full context, on captions too."""
  what = "train" if row["what"].startswith("train") else row["what"]
  keys = {"side": THEIRS, "what": what, "batch": row["batch"], "remat": row["remat"]}
  matches = [other for other in rows if all(other[key] == keys[key] for key in keys)]
  return matches[0] if matches else None


def _cells(row, same, peaks):
  """The rates of both sides, their ratio, the memory of both, and our shares of the peaks."""
  ran = "rate" in row
  ratio = f"{row['rate'] / same['rate']:.2f}" if ran and same and "rate" in same else ""
  # Where texts are cut, we do less work than is counted.
  whole = ran and row["what"] in ("image", "text", "train")
  shares = [f"{row['flops_a_second'] / peak:.0%}" if whole and peak else "" for peak in peaks]
  return [_rate(row), _rate(same), ratio, _gib(row), _gib(same), *shares]


def _rate(row):
  if row is None:
    return ""
  return f"{row['rate']:,.0f}" if "rate" in row else "out of memory"


def _gib(row):
  return f"{row['gib']:.1f}" if row and row.get("gib") else ""


if __name__ == "__main__":
  main()
