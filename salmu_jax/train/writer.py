"""Training metrics: `metrics.jsonl`, and on request TensorBoard and Weights & Biases."""

import json
import os
import pathlib
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import jax

from salmu_jax.errors import InputError
from salmu_jax.runtime import files, places, progress

FILE = "metrics.jsonl"
_EVERY = 30  # seconds between two copies to a bucket, at least


class Writer:
  """Appends {name: value} rows by step. Process 0 writes; the other processes do nothing.

  Each row also has the `seconds` of training so far, including those before an interruption.
  Files in a bucket cannot be appended to; there, files on the disk are copied at intervals.

  Args:
    folder: where metrics.jsonl is written.
    tensorboard: whether to write event files under folder/tensorboard too.
    settings: of the run, which TensorBoard shows as hyperparameters.
    wandb_project: the project on Weights & Biases that the run is sent to; "" for none.
  """

  def __init__(
    self,
    folder: str | os.PathLike,
    tensorboard: bool,
    settings: Mapping[str, Any] | None = None,
    wandb_project: str = "",
  ):
    self._place = places.place(folder)
    self._active, self._tensorboard = jax.process_index() == 0, tensorboard
    self._settings, self._wandb_project = settings or {}, wandb_project
    self._wandb: Any = None
    staged = self._active and places.is_remote(self._place)
    self._staging = tempfile.TemporaryDirectory(prefix="salmu_jax-") if staged else None
    self._folder = pathlib.Path(self._staging.name if self._staging else self._place)
    self._events = None
    self._before, self._began = 0.0, time.monotonic()
    self._sent = self._began

  def resume(self, step: int) -> None:
    """Starts after `step`; drops later rows of an interrupted run, which will be written again.

    Damaged lines at the end, as after a power loss, are dropped too.

    Raises:
      InputError: a line before a row to keep is damaged; the message names it.
    """
    if self._active and (self._place / FILE).exists():
      kept = _up_to(step, self._place / FILE)
      text = "".join(json.dumps(row) + "\n" for row in kept)
      files.write_text(self._folder / FILE, text)
      self._before = kept[-1]["seconds"] if kept else 0.0
    if self._active and self._tensorboard:
      # Imports PyTorch if it is installed, which takes seconds.
      from tensorboardX import SummaryWriter
      from tensorboardX.summary import hparams

      self._events = SummaryWriter(str(self._folder / "tensorboard"), purge_step=step + 1)
      for summary in hparams(_flat(self._settings), {}):
        self._events.file_writer.add_summary(summary)
    if self._active and self._wandb_project:
      self._wandb = self._wandb_run()
    self._began = time.monotonic()

  def seconds(self) -> float:
    """Seconds of training so far."""
    return self._before + time.monotonic() - self._began

  def write(self, step: int, values: dict[str, float]) -> None:
    """Appends one row of host floats."""
    if not self._active:
      return
    with open(self._folder / FILE, "a", encoding="utf-8") as file:
      file.write(json.dumps({"step": step, **values, "seconds": self.seconds()}) + "\n")
      file.flush()
      os.fsync(file.fileno())
    if self._events:
      for name, value in values.items():
        self._events.add_scalar(name, value, step)
    if self._wandb:
      self._wandb.log(values, step=step)
    if time.monotonic() - self._sent > _EVERY:
      self.flush()

  def flush(self) -> None:
    """Returns when all rows are in their final place; they must be before a checkpoint is saved."""
    if not self._staging:
      return
    if self._events:
      self._events.flush()
    places.send(self._folder, self._place)
    self._sent = time.monotonic()

  def _wandb_run(self):
    """The run on Weights & Biases; the same one when a run resumes."""
    import wandb

    model, workdir = self._place.name, self._place.parent.parent.name
    identity = files.digest([os.fspath(self._place), dict(self._settings)])[:16]
    return wandb.init(
      project=self._wandb_project,
      name=f"{workdir}/{model}",
      id=identity,
      resume="allow",
      config=_flat(self._settings),
    )

  def close(self) -> None:
    """Flushes all files."""
    if self._wandb:
      self._wandb.finish()
      self._wandb = None
    if self._events:
      self._events.close()
      self._events = None
    self.flush()
    if self._staging:
      self._staging.cleanup()
      self._staging = None


def _flat(settings, prefix=""):
  """{"a.b": number or text} of nested settings."""
  leaves = {}
  for key, value in settings.items():
    if isinstance(value, Mapping):
      leaves |= _flat(value, f"{prefix}{key}.")
    else:
      plain = isinstance(value, bool | int | float | str)
      leaves[f"{prefix}{key}"] = value if plain else json.dumps(value)
  return leaves


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
  """The rows of a metrics.jsonl, up to a line that a kill cut short.

  Raises:
    InputError: a line is damaged; the message names it.
  """
  lines = _lines(path)
  for number, row in lines:
    if isinstance(row, str):
      raise _damaged(path, number, row)
  return [row for _, row in lines]


def _up_to(step, path):
  """The rows up to a step."""
  lines = _lines(path)
  kept = [at for at, (_, row) in enumerate(lines) if isinstance(row, dict) and row["step"] <= step]
  last = kept[-1] + 1 if kept else 0
  for number, row in lines[:last]:
    if isinstance(row, str):
      raise _damaged(path, number, row)
  damaged = [number for number, row in lines[last:] if isinstance(row, str)]
  if damaged:
    message = f"{path}, line {damaged[0]} is damaged; training writes it again."
    progress.console.print(message, markup=False, soft_wrap=True)
  return [row for _, row in lines[:last]]


def _lines(path):
  """[(number, row, or what is wrong with it)] of the lines that end."""
  lines, before = [], -1
  try:
    content = places.place(path).read_bytes()
  except OSError as error:
    raise InputError(f"{path} cannot be read ({places.reason(error)}).") from error
  for number, line in enumerate(content.splitlines(keepends=True), 1):
    if not line.endswith(b"\n"):
      break
    row = _row(line)
    if isinstance(row, dict):
      if row["step"] <= before:
        row = f"step {row['step']} comes after step {before}"
      else:
        before = row["step"]
    lines.append((number, row))
  return lines


def _row(line):
  try:
    row = json.loads(line)
  except (ValueError, RecursionError):
    row = None
  whole = isinstance(row, dict) and all(
    isinstance(row.get(key), kind) and not isinstance(row[key], bool)
    for key, kind in (("step", int), ("seconds", int | float))
  )
  return row if whole else "a row needs the numbers `step` and `seconds`"


def _damaged(path, number, why):
  return InputError(
    f"{path}, line {number} is damaged: {why}. Remove the line to go on without it."
  )
