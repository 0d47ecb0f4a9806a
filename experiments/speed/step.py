"""Training steps as a share of the machine's matmul peak: python -m experiments.speed.step

The trainer's pretraining steps of `mini` and ViT-B/16, in float32 on the CPU, take turns with
square matrix products of several sizes in the same process. The fastest product is the peak. Writes
step.json.
"""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed import turns
from salmu_jax import defaults, train
from salmu_jax.models import clip, flops
from salmu_jax.models.presets import PRESETS
from salmu_jax.runtime import files, sharding
from salmu_jax.train import optimizers

RESULTS = pathlib.Path(__file__).parent / "step.json"
STEPS = {"mini": (256, 5), "vit_b16": (16, 1)}  # preset: (pairs, steps per turn)
VOCABULARY = 1121  # of mini's release; the preset `mini` has none of its own
SIDES = (1024, 2048, 4096)


def main():
  """Measures both presets."""
  jax.config.update("jax_platforms", "cpu")
  files.write_json(
    RESULTS,
    {
      "cores": os.cpu_count(),
      "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", ""),
      "rows": [row(preset) for preset in STEPS],
    },
  )


def row(preset):
  """One preset: the seconds of a step, the peak, and the step's share of the peak."""
  pairs, steps = STEPS[preset]
  sizes = PRESETS[preset]
  sizes = sizes._replace(vocab_size=sizes.vocab_size or VOCABULARY)
  contenders = {"step": _step(clip.CLIP(sizes), pairs, steps)}
  contenders |= {f"matmul {side}": _product(side) for side in SIDES}
  seconds, every = turns.medians(contenders)
  peak = max(2 * side**3 / seconds[f"matmul {side}"] for side in SIDES)
  operations = flops.training_step(sizes, pairs)
  return {
    "preset": preset,
    "pairs": pairs,
    "seconds_a_step": seconds["step"] / steps,
    "model_flops": operations,
    "peak_flops_a_second": peak,
    "share_of_peak": operations * steps / seconds["step"] / peak,
    "seconds": every,
  }


def _step(model, pairs, steps):
  mesh = sharding.make_mesh(jax.devices()[:1])
  tx = optimizers.make_optimizer(defaults.optimizer(1e-5), 1000)
  step = train.jitted_pretrain_step(model, tx, mesh)
  state = [train.start_state(train.init_params(model, 0, mesh), tx, mesh)]
  rng, sizes = np.random.default_rng(0), model.sizes
  size = sizes.image_size
  batch = {
    "image": rng.integers(0, 256, (pairs, size, size, 3), np.uint8),
    "text": rng.integers(0, sizes.vocab_size, (pairs, sizes.context_length), np.int32),
  }
  batch = sharding.put_batch(batch, mesh)

  def call():
    for _ in range(steps):
      state[0], metrics = step(state[0], batch)
    jax.block_until_ready(metrics)

  return call


def _product(side):
  x = jnp.ones((side, side))
  multiply = jax.jit(lambda a: a @ a)
  return lambda: multiply(x).block_until_ready()


def section(path=RESULTS):
  """The README's table."""
  record = files.read_json(path)
  lines = ["| training step | pairs | seconds | share of this machine's matmul peak |"]
  lines.append("| --- | ---: | ---: | ---: |")
  for result in record["rows"]:
    seconds, share = f"{result['seconds_a_step']:.3g}", f"{result['share_of_peak']:.0%}"
    lines.append(f"| `{result['preset']}` | {result['pairs']} | {seconds} | {share} |")
  return "\n".join(lines) + "\n"


if __name__ == "__main__":
  main()
