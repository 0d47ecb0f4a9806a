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

# What a row of the log has beside the metrics of the model. Nothing depends on it.
PACE = ("learning_rate", "pairs_per_second", "share_of_peak")


class Schedule(NamedTuple):
  """The length of a run, and what its log says of it.

  Attributes:
    total_steps: of the run.
    log_every, checkpoint_every: steps between two rows of the log, and between two checkpoints.
    pairs: of a step; 0 where they are not counted.
    seconds_at_peak: that a step would take on devices that do all their data sheet says; 0 where
      that is not known.
  """

  total_steps: int
  log_every: int
  checkpoint_every: int
  pairs: int = 0
  seconds_at_peak: float = 0.0


class _Pace:
  """How fast a run goes, and at what learning rate."""

  def __init__(self, schedule, opt_state):
    self._schedule, self._rates = schedule, rates.rates_of(opt_state)
    self._step = self._time = None

  def begin_once(self, step):
    """Starts to count after the first step of a process, in which the program is compiled."""
    if self._step is None:
      self._step, self._time = step, time.monotonic()

  def since(self, step):
    """{key of PACE: number} of the steps since the last call."""
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
) -> TrainState:
  """Runs steps up to `schedule.total_steps` and returns the final state.

  Starts from the newest checkpoint, or from `state` if there is none.
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

  Raises:
    InputError: a metric is not finite; names the step. The last good checkpoint is kept.
    Stopped: a stop was requested; the state after the last step is saved.
  """
  state, iterator, waiting = checkpoints.restore(state, iterator)
  first = int(state.step) + 1
  writer.resume(first - 1)
  progress(first - 1, {})
  pace = _Pace(schedule, state.opt_state)
  for now in range(first, schedule.total_steps + 1):
    state, metrics = step(state, next(iterator))
    pace.begin_once(now)
    waiting.append(metrics)
    if due(now, schedule.log_every, schedule.total_steps):
      row = _mean_of_finite(jax.device_get(waiting), now, checkpoints) | pace.since(now)
      writer.write(now, row)
      progress(now, row)
      waiting = []
    saved = due(now, schedule.checkpoint_every, schedule.total_steps)
    if saved:
      writer.flush()
      checkpoints.save(now, state, iterator)
    if stop_asked():
      _save_and_stop(now, state, iterator, waiting, checkpoints, saved, writer)
  checkpoints.wait()
  return state


def _save_and_stop(now, state, iterator, waiting, checkpoints, saved, writer):
  writer.flush()
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
          f"{name} became {value} at step {step}; training stops there. The last checkpoint from "
          "before is kept. A lower learning_rate, a longer warmup or clipping of the gradient "
          "usually mends this."
        )
  return {name: float(np.mean([row[name] for row in rows], dtype=np.float64)) for name in rows[0]}
