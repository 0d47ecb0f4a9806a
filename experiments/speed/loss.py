"""Scratch memory of the losses by number of devices: python -m experiments.speed.loss

Compiles loss and gradients for 1 to 8 virtual devices, with the same number of rows on each, and
writes XLA's scratch memory per device to loss.json. Nothing is timed.
"""

import os
import pathlib

import jax
import jax.numpy as jnp

from salmu_jax import losses
from salmu_jax.losses import sharded
from salmu_jax.models.clip import Embeddings
from salmu_jax.runtime import files, sharding

RESULTS = pathlib.Path(__file__).parent / "loss.json"
ROWS, WIDTH = 512, 512  # on each device
LOSSES = {
  "contrastive": lambda mesh: losses.contrastive,
  "contrastive_ring": sharded.contrastive,
  "sigmoid": lambda mesh: losses.sigmoid,
  "sigmoid_ring": sharded.sigmoid,
}


def main():
  """Compiles every loss for every number of devices."""
  # JAX reads this when it makes its devices, which has not happened yet.
  os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
  jax.config.update("jax_platforms", "cpu")
  rows = [
    {"loss": name, "devices": count, "scratch": scratch(name, count)}
    for name in LOSSES
    for count in (1, 2, 4, 8)
  ]
  files.write_json(RESULTS, {"rows_a_device": ROWS, "width": WIDTH, "rows": rows})


def scratch(name, devices):
  """Bytes of scratch memory that a loss and its gradients need on each device."""
  mesh = sharding.make_mesh(jax.devices()[:devices])
  row, whole = sharding.over_batch(mesh), sharding.replicated(mesh)
  shaped = lambda shape, where: jax.ShapeDtypeStruct(shape, jnp.float32, sharding=where)
  matrix, scalar = shaped((ROWS * devices, WIDTH), row), shaped((), whole)
  z = Embeddings(matrix, matrix, scalar, bias=scalar)
  layout = whole, Embeddings(row, row, whole, bias=whole)
  step = jax.jit(jax.value_and_grad(LOSSES[name](mesh)), out_shardings=layout)
  return step.lower(z).compile().memory_analysis().temp_size_in_bytes


def section(path=RESULTS):
  """The README's table."""
  record = files.read_json(path)
  counts = sorted({row["devices"] for row in record["rows"]})
  cells = {(row["loss"], row["devices"]): f"{row['scratch'] / 2**20:.1f}" for row in record["rows"]}
  lines = [f"| MiB per device, by number of devices | {' | '.join(map(str, counts))} |"]
  lines.append("| --- |" + " ---: |" * len(counts))
  for name in LOSSES:
    lines.append(f"| `{name}` | {' | '.join(cells[name, count] for count in counts)} |")
  return "\n".join(lines) + "\n"


if __name__ == "__main__":
  main()
