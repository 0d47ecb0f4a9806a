"""Training metrics: always `metrics.jsonl`, and TensorBoard events beside it."""

import json
import os
import pathlib
import time
from typing import Any

import jax

from salmu_jax.runtime import files


class Writer:
  """Appends {name: value} rows by step. Process 0 writes; the other processes do nothing.

  Each row also has the `seconds` of training so far, including those before an interruption.

  Args:
    folder: where metrics.jsonl is written.
    tensorboard: whether to write event files under folder/tensorboard too.
  """

  def __init__(self, folder: str | pathlib.Path, tensorboard: bool):
    self._path = pathlib.Path(folder) / "metrics.jsonl"
    self._active = jax.process_index() == 0
    self._tensorboard = str(pathlib.Path(folder) / "tensorboard") if tensorboard else None
    self._events = None
    self._before, self._began = 0.0, time.monotonic()

  def resume(self, step: int) -> None:
    """Starts after `step`; drops later rows of an interrupted run, which will be written again."""
    if self._active and self._path.exists():
      kept = [row for row in read(self._path) if row["step"] <= step]
      files.write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))
      self._before = kept[-1]["seconds"] if kept else 0.0
    if self._active and self._tensorboard:
      # Imports PyTorch where that is installed, which takes seconds.
      from tensorboardX import SummaryWriter

      self._events = SummaryWriter(self._tensorboard, purge_step=step + 1)
    self._began = time.monotonic()

  def seconds(self) -> float:
    """Seconds of training so far."""
    return self._before + time.monotonic() - self._began

  def write(self, step: int, values: dict[str, float]) -> None:
    """Appends one row of host floats."""
    if not self._active:
      return
    with open(self._path, "a", encoding="utf-8") as file:
      file.write(json.dumps({"step": step, **values, "seconds": self.seconds()}) + "\n")
      file.flush()
      os.fsync(file.fileno())
    if self._events:
      for name, value in values.items():
        self._events.add_scalar(name, value, step)

  def close(self) -> None:
    """Flushes the event file."""
    if self._events:
      self._events.close()


def read(path: str | pathlib.Path) -> list[dict[str, Any]]:
  """The rows of a metrics.jsonl, up to a line that a kill cut short."""
  rows = []
  for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines(keepends=True):
    if not line.endswith("\n"):
      break
    rows.append(json.loads(line))
  return rows
