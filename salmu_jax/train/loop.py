"""The training loop: steps, logging, checkpoints and stopping."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from salmu_jax.errors import InputError, Stopped
from salmu_jax.train.checkpoint import Checkpoints
from salmu_jax.train.state import TrainState
from salmu_jax.train.writer import Writer
from salmu_jax.transforms import rates

# What a row of the log holds besides the model's metrics. Nothing depends on it.
PACE = ("learning_rate", "pairs_per_second", "share_of_peak")


class Schedule(NamedTuple):
  """The length of a run, and what its log needs to measure the pace.

  Attributes:
    total_steps: of the run.
    log_every, checkpoint_every: steps between two rows of the log, and between two checkpoints.
    pairs: per step; 0 if they are not counted.
    seconds_at_peak: that a step would take at the peak rate of the devices' data sheet; 0 if that
      is unknown.
  """

  total_steps: int
  log_every: int
  checkpoint_every: int
  pairs: int = 0
  seconds_at_peak: float = 0.0


class _Log:
  """Rows of the log, each the means of the steps since the last, with the pace."""

  def __init__(self, schedule, opt_state, waiting, checkpoints, writer, progress):
    self.waiting = waiting
    self._schedule, self._rates = schedule, rates.rates_of(opt_state)
    self._checkpoints, self._writer, self._progress = checkpoints, writer, progress
    self._step = self._time = None

  def add(self, step, metrics):
    """Takes the metrics of a step, and writes a row if one is due."""
    self.waiting.append(metrics)
    if self._step is None:  # the first step of a process, in which the program is compiled
      self._step, self._time = step, time.monotonic()
    if due(step, self._schedule.log_every, self._schedule.total_steps):
      row = _mean_of_finite(jax.device_get(self.waiting), step, self._checkpoints)
      row |= self._pace(step)
      self._writer.write(step, row)
      self._progress(step, row)
      self.waiting = []

  def _pace(self, step):
    """{key of PACE: number} of the steps since the last row."""
    row = {}
    if self._rates is not None:
      row["learning_rate"] = float(self._rates[min(step, len(self._rates)) - 1])
    steps, seconds = step - self._step, time.monotonic() - self._time
    if steps and seconds > 0:
      if self._schedule.pairs:
        row["pairs_per_second"] = steps * self._schedule.pairs / seconds
      if self._schedule.seconds_at_peak:
        row["share_of_peak"] = steps * self._schedule.seconds_at_peak / seconds
    self._step, self._time = step, time.monotonic()
    return row


def fit(
  step: Callable,
  state: TrainState,
  iterator: Iterator,
  schedule: Schedule,
  *,
  checkpoints: Checkpoints,
  writer: Writer,
  progress: Callable[[int, dict[str, float]], None],
  stop_asked: Callable[[], bool] = lambda: False,
  trace: Callable[[int], None] = lambda step: None,
) -> TrainState:
  """Runs steps up to `schedule.total_steps` and returns the final state.

  Starts from the newest whole checkpoint, or from `state` if there is none.
  Metrics stay on the device between log lines; a logged value is the mean since the last line.

  Args:
    step: step(state, batch) -> (state, metrics), on host batches, see `programs.Program`.
    state: the state to start from; donated.
    iterator: a checkpointable iterator of host batches.
    schedule: the length of the run.
    checkpoints: where the state is saved and restored.
    writer: where metrics are logged.
    progress: progress(done, metrics), called with the number of finished steps.
    stop_asked: stop_asked() -> bool, called after every step; all processes get the same answer.
    trace: trace(number), called before every step, see `runtime.tracing`.

  Raises:
    InputError: a metric is not finite; names the step. The last good checkpoint is kept.
    Stopped: a stop was requested; the state after the last step is saved.
  """
  state, iterator, waiting = checkpoints.restore(state, iterator)
  first = int(state.step) + 1
  writer.resume(first - 1)
  progress(first - 1, {})
  log = _Log(schedule, state.opt_state, waiting, checkpoints, writer, progress)
  for now in range(first, schedule.total_steps + 1):
    trace(now)
    state, metrics = step(state, next(iterator))
    log.add(now, metrics)
    saved = due(now, schedule.checkpoint_every, schedule.total_steps)
    if saved:
      writer.flush()
      checkpoints.save(now, state, iterator)
    if stop_asked():
      writer.flush()
      _save_and_stop(now, state, iterator, log.waiting, checkpoints, saved)
  checkpoints.wait()
  return state


def _save_and_stop(now, state, iterator, waiting, checkpoints, saved):
  rows = jax.device_get(waiting)
  if rows:
    _mean_of_finite(rows, now, checkpoints)
  if not saved:
    metrics = [{name: float(value) for name, value in row.items()} for row in rows]
    checkpoints.save(now, state, iterator, metrics)
  checkpoints.wait()
  raise Stopped(f"after step {now}, which is saved")


def due(step: int, every: int, last: int) -> bool:
  """Whether something done every `every` steps is due after `step`; always after the last."""
  return step == last or (every > 0 and step % every == 0)


def _mean_of_finite(rows, now, checkpoints):
  """Means of the metrics over the steps up to `now`."""
  for step, row in enumerate(rows, start=now - len(rows) + 1):
    for name, value in row.items():
      if not np.isfinite(value):
        checkpoints.wait()
        raise InputError(
          f"{name} became {value} at step {step}; training stops there. The last good checkpoint "
          "is kept. A lower learning_rate, a longer warmup or gradient clipping usually helps."
        )
  return {name: float(np.mean([row[name] for row in rows], dtype=np.float64)) for name in rows[0]}
