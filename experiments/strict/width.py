"""`anchored` at the width of ViT-B/16: python -m experiments.strict.width

Compiles the unlearning step of configs/vit_b16.py ahead of time for a TPU slice (with the compiler
from requirements-tpu.txt), and runs one step on this machine with random weights. The stored
results were compiled with JAX_OPTIMIZATION_LEVEL=O0.
"""

import importlib.metadata
import os
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from configs import vit_b16
from salmu_jax import train
from salmu_jax.aot import slices
from salmu_jax.methods import anchored, base
from salmu_jax.models import clip, presets
from salmu_jax.report import markdown as md
from salmu_jax.runtime import files, progress, sharding
from salmu_jax.train import optimizers

RESULTS = pathlib.Path(__file__).parent / "results" / "width.json"
SLICE = "v5e:2x4"
ROWS = 4  # of the step that runs on this machine
_STEP = "unlearn anchored"


def config(target: str) -> ConfigDict:
  """configs/vit_b16.py with `anchored` alone, unchanged or with the arguments of `removed`."""
  made = vit_b16.get_config("anchored")
  if target == "removed":
    made.unlearn.anchored.args = ConfigDict({"target": target, "anchors": 16.0})
  return made


def compiled(target: str) -> dict:
  """Batch size, memory and host calls of the step on each chip of SLICE."""
  made, mesh = config(target), slices.describe(SLICE)
  report = slices.compile_step(slices.steps(made, mesh)[_STEP])
  return {"batch": made.unlearn.anchored.batch_size, "memory": report.memory, "host": report.host}


def one_step(target: str) -> dict:
  """The losses of a step on random weights, its largest change of each tower, and its seconds."""
  made, mesh = config(target), sharding.make_mesh(jax.devices()[:1])
  run = made.unlearn.anchored
  run.optimizer.warmup = 0.0  # with warm-up the first step moves nothing
  optimizer = optimizers.make_optimizer(run.optimizer, 10)
  method = base.build(anchored.make, optimizer, run.args.to_dict(), steps=10, seed=0)
  model = presets.make_model(made.model, slices.CLIP_VOCABULARY)
  program = train.unlearn_program(made, model, mesh, method, ROWS)
  start = clip.init(model, 0)
  state = program.start(start)
  shapes = slices.steps(made, mesh)[_STEP].arguments(ROWS)[2]
  batch = drawn(shapes, np.random.default_rng(0))
  began = time.monotonic()
  state, metrics = jax.block_until_ready(program.jitted(state, start, batch))
  moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params, start)
  towers = {name: max(jax.tree.leaves(moved[name])) for name in ("text", "visual")}
  losses = {name: float(metrics[name]) for name in ("forget_loss", "retain_loss")}
  return {"rows": ROWS, **losses, "moved": towers, "seconds": time.monotonic() - began}


def drawn(shapes: dict, rng: np.random.Generator) -> dict:
  """Random tokens with an end token, and random picture embeddings."""

  def draw(leaf):
    if jnp.issubdtype(leaf.dtype, jnp.integer):
      tokens = rng.integers(1, slices.CLIP_VOCABULARY - 2, leaf.shape)
      tokens[..., -1] = slices.CLIP_VOCABULARY - 1
      return jnp.asarray(tokens, leaf.dtype)
    return clip.unit(jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype))

  return jax.tree.map(draw, shapes)


def section() -> str:
  """The table, from results/width.json."""
  kept = files.read_json(RESULTS)
  heads = ["target", "batch", "GiB per chip", "forget loss", "retain loss"]
  heads += ["text tower, max change"]
  lines = [[*heads, "image tower, max change"], ["---", *["---:"] * len(heads)]]
  for target in anchored.TARGETS:
    slice_, step = kept["compiled"][target], kept["one_step"][target]
    losses = (f"{step[name]:.4f}" for name in ("forget_loss", "retain_loss"))
    moved = (f"{step['moved'][name]:.1e}" for name in ("text", "visual"))
    lines.append([target, str(slice_["batch"]), f"{slice_['memory'] / 2**30:.1f}", *losses, *moved])
  return md.table(lines)


def main() -> None:
  """Measures both targets."""
  jax.config.update("jax_platforms", "cpu")
  versions = {name: importlib.metadata.version(name) for name in ("jax", "libtpu")}
  level = os.environ.get("JAX_OPTIMIZATION_LEVEL", "default")
  kept = {"slice": SLICE, "level": level, "versions": versions}
  kept["one_step"] = {target: one_step(target) for target in anchored.TARGETS}
  progress.console.print(kept["one_step"])
  kept["compiled"] = {target: compiled(target) for target in anchored.TARGETS}
  files.write_json(RESULTS, kept)
  progress.console.print(section())


if __name__ == "__main__":
  main()
