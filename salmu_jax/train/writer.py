"""Training metrics: always `metrics.jsonl`, and TensorBoard events beside it."""

import json
import os
import pathlib
import time

import jax
from tensorboardX import SummaryWriter

from salmu_jax.runtime import files


class Writer:
  """Appends {name: value} rows by step; process 0 writes, the others do nothing.

  Each row also says the `seconds` of training so far, those before an interruption included.

  Args:
    folder: gets metrics.jsonl.
    tensorboard: whether to write event files under folder/tensorboard too.
  """

  def __init__(self, folder, tensorboard):
    self._path = pathlib.Path(folder) / "metrics.jsonl"
    self._active = jax.process_index() == 0
    self._tensorboard = str(pathlib.Path(folder) / "tensorboard") if tensorboard else None
    self._events = None
    self._before, self._began = 0.0, time.monotonic()

  def resume(self, step):
    """Starts after `step`: later rows of an interrupted run are dropped, for they come again."""
    if self._active and self._path.exists():
      kept = [row for row in read(self._path) if row["step"] <= step]
      files.write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))
      self._before = kept[-1]["seconds"] if kept else 0.0
    if self._active and self._tensorboard:
      self._events = SummaryWriter(self._tensorboard, purge_step=step + 1)
    self._began = time.monotonic()

  def seconds(self):
    """Seconds of training so far."""
    return self._before + time.monotonic() - self._began

  def write(self, step, values):
    """Appends one row. Values are host floats."""
    if not self._active:
      return
    with open(self._path, "a", encoding="utf-8") as file:
      file.write(json.dumps({"step": step, **values, "seconds": self.seconds()}) + "\n")
      file.flush()
      os.fsync(file.fileno())
    if self._events:
      for name, value in values.items():
        self._events.add_scalar(name, value, step)

  def close(self):
    """Flushes the event file."""
    if self._events:
      self._events.close()


def read(path):
  """The rows of a metrics.jsonl; a line cut short by a kill ends them."""
  rows = []
  for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines(keepends=True):
    if not line.endswith("\n"):
      break
    rows.append(json.loads(line))
  return rows
