"""Chooses the program of a batch: the one that cuts its texts, or the one at the full context.

All processes of a run must take the same one, but each knows only the lengths of its own texts. So
each sends the others whether its part of a batch fits, one batch ahead. The answer has arrived when
the step starts, and no device waits for it.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grain
import jax

from salmu_jax.runtime import hosts


class Batch(NamedTuple):
  """A batch as `programs.Program.step` takes it.

  rows: this process's rows, a tree of numpy arrays.
  whole: whether its texts, those of other processes included, need the full context: a bool, or a
    () array that is still being computed.
  """

  rows: Any
  whole: bool | jax.Array


class Fitting(grain.DatasetIterator):
  """The batches of a stream as `Batch`; checkpointable as the stream is.

  Args:
    stream: a checkpointable iterator of host batches.
    fits: fits(rows) -> whether this process's rows fit; None if all batches take the full context.
  """

  def __init__(self, stream: Iterator, fits: Callable[[Any], bool] | None):
    super().__init__()
    self._stream, self._fits = stream, fits
    self._ahead = None  # the next batch, if it was read already
    self._position = None  # of the stream before that batch

  def __next__(self) -> Batch:
    if self._fits is None:
      return Batch(next(self._stream), True)
    if jax.process_count() == 1:
      rows = next(self._stream)
      return Batch(rows, not self._fits(rows))
    batch = self._ahead or self._read()
    self._ahead = self._read()
    return batch

  def _read(self):
    self._position = self._stream.get_state()
    rows = next(self._stream)
    return Batch(rows, hosts.any_of_all(not self._fits(rows)))

  def get_state(self) -> dict[str, Any]:
    """The position, as JSON."""
    return self._position if self._ahead else self._stream.get_state()

  def set_state(self, state: dict[str, Any]) -> None:
    """Returns to a position from `get_state`."""
    self._ahead = None
    self._stream.set_state(state)
