"""Batches that threads prepare in advance; the iterator is checkpointable."""

import collections
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any

import grain
import numpy as np

# Examples that a thread prepares at a time: enough to make the handover cheap.
_PART = 16


class Batches(grain.DatasetIterator):
  """Batches in order, each filled by all threads at once.

  Threads take parts of a batch, not single rows: at 64 pixels, handing over a row costs a large
  part of its work. They write into the arrays of the batch, so nothing is stacked afterwards.

  Args:
    examples: random-access examples, each an array or a dict of arrays; read by all threads.
    numbers: numbers(k) -> the examples of batch k; none if there is no batch k.
    threads: number of threads.
    ahead: number of batches to prepare in advance.
  """

  def __init__(
    self,
    examples: Sequence,
    numbers: Callable[[int], Sequence[int]],
    threads: int,
    ahead: int,
  ):
    super().__init__()
    self._examples, self._numbers = examples, numbers
    self._threads, self._most = threads, 1 + ahead
    self._pool = futures.ThreadPoolExecutor(threads, thread_name_prefix="rows")
    self._next = 0  # number of the batch that comes next
    self._begun = collections.deque()  # that batch and later ones: (_Batch, futures of its parts)

  def __next__(self) -> Any:
    self._assert_not_closed()
    self.start_prefetch()
    if not self._begun:
      raise StopIteration
    batch, parts = self._begun.popleft()
    self._next += 1
    for part in parts:
      part.result()
    return batch.arrays

  def start_prefetch(self) -> None:
    """Hands parts to the threads until the maximum number of batches is begun."""
    while len(self._begun) < self._most:
      numbers = self._numbers(self._next + len(self._begun))
      if not len(numbers):
        return
      batch, size = _Batch(len(numbers)), min(_PART, -(-len(numbers) // self._threads))
      parts = [
        self._pool.submit(batch.fill, self._examples, at, numbers[at : at + size])
        for at in range(0, len(numbers), size)
      ]
      self._begun.append((batch, parts))

  def get_state(self) -> dict[str, int]:
    """The position, as JSON."""
    return {"next_batch": self._next}

  def set_state(self, state: dict[str, int]) -> None:
    """Moves to a position from `get_state`."""
    for _, parts in self._begun:
      for part in parts:
        part.cancel()
    self._begun.clear()
    self._next = state["next_batch"]

  def close(self) -> None:
    """Ends the threads once they have finished the parts they began."""
    super().close()
    # grain closes again when the iterator is collected, perhaps as the interpreter ends.
    pool, self._pool = self._pool, None
    if pool:
      pool.shutdown(cancel_futures=True)


class _Batch:
  """The arrays of a batch, allocated when its first example is known."""

  def __init__(self, size):
    self.arrays = None
    self._size, self._lock = size, threading.Lock()

  def fill(self, examples, start, numbers):
    """Puts the examples of these numbers into the rows from `start` on."""
    for row, number in enumerate(numbers, start):
      example = examples[int(number)]
      if self.arrays is None:
        with self._lock:
          if self.arrays is None:
            self.arrays = _empty(example, self._size)
      _put(example, self.arrays, row)


def _empty(example, size):
  """Arrays for `size` examples."""
  if isinstance(example, dict):
    return {name: _empty(part, size) for name, part in example.items()}
  example = np.asarray(example)
  return np.empty((size, *example.shape), example.dtype)


def _put(example, arrays, row):
  if isinstance(example, dict):
    for name, part in example.items():
      _put(part, arrays[name], row)
  else:
    arrays[row] = example
