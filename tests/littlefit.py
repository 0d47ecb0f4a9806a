"""Twelve steps of a small model with checkpoints and a log, and a kill at any of them."""

import contextlib
import json

import jax
from little import MODEL, PARAMS, half, optimizer_settings

from salmu_jax import train
from salmu_jax.data import pipeline
from salmu_jax.runtime import sharding
from salmu_jax.train import PACE, checkpoint, optimizers, writer

ONE = sharding.make_mesh(jax.devices()[:1])
SCHEDULE = train.Schedule(total_steps=12, log_every=2, checkpoint_every=4)
TX = optimizers.make_optimizer(optimizer_settings(), SCHEDULE.total_steps)
STEP = train.jitted_pretrain_step(MODEL, TX, ONE)


def batches():
  import grain

  examples = grain.MapDataset.range(8000).seed(0).shuffle().map(_example)
  return pipeline.start(examples, 8)


def _example(seed):
  return jax.tree.map(lambda rows: rows[0], pair(int(seed), rows=1))


def pair(seed, rows=8):
  batch = half(seed, rows)
  return {"image": batch["image"], "text": batch["text"]}


def fit(folder, step=STEP, schedule=SCHEDULE, tx=TX):
  folder.mkdir(exist_ok=True)
  log = writer.Writer(folder, tensorboard=False)
  try:
    with (
      contextlib.closing(batches()) as stream,
      checkpoint.Checkpoints(folder / "checkpoints") as checkpoints,
    ):
      return train.fit(
        step,
        train.start_state(PARAMS, tx, ONE),
        stream,
        schedule,
        checkpoints=checkpoints,
        writer=log,
        progress=lambda done, row: None,
      )
  finally:
    log.close()


class Killed(Exception):
  pass


def killed_at(number, step=STEP):
  """A step that dies at its `number`-th call."""
  calls = []

  def run(state, batch):
    calls.append(1)
    if len(calls) == number:
      raise Killed
    return step(state, batch)

  return run


def logged(folder):
  return [
    {k: v for k, v in json.loads(line).items() if k not in ("seconds", *PACE)}
    for line in (folder / "metrics.jsonl").read_text().splitlines()
  ]
