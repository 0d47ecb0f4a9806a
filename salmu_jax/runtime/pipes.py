"""Standard output and error: a closed pipe ends the command, a lost terminal does not."""

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Iterator

from salmu_jax.runtime import ends, surroundings


@contextlib.contextmanager
def ending_quietly() -> Iterator[None]:
  """Prepares the environment and output of a command, which then never ends with a traceback on a
  signal or a closed pipe.

  A signal prints one line, see `ends`. A pipe whose reader has ended, such as `head`, prints
  nothing and gives status 141. Output to a lost terminal is dropped. A character that the
  terminal's encoding lacks is escaped.
  """
  with ends.with_one_line(), _standing("stdout"), _standing("stderr"):
    surroundings.settle()
    yield


@contextlib.contextmanager
def _standing(name):
  """Replaces sys.stdout or sys.stderr with a `_Stream`."""
  stream = getattr(sys, name)
  try:
    descriptor = stream.fileno()
  except (AttributeError, OSError):  # closed from the start, or not a file
    yield
    return
  stream.flush()
  lasting = _Stream(
    io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)),
    encoding=stream.encoding,
    errors="backslashreplace",
    line_buffering=stream.line_buffering or name == "stderr",
  )
  setattr(sys, name, lasting)
  try:
    yield
  finally:
    try:
      lasting.flush()
    finally:
      lasting.detach()
      setattr(sys, name, stream)


class _Stream(io.TextIOWrapper):
  """Text for a file descriptor; text written after the reader is gone is dropped.

  The bytes are written in C, because an exception that a signal raises during a write in Python
  would make the buffer write them twice.
  """

  def write(self, text: str) -> int:
    """Writes text.

    Raises:
      Ending: the reader of the pipe is gone.
    """
    with self._lasting():
      super().write(text)
    return len(text)

  def flush(self) -> None:
    """Writes what is buffered; raises as `write` does."""
    with self._lasting():
      super().flush()

  @contextlib.contextmanager
  def _lasting(self):
    try:
      yield
    except OSError as error:
      if error.errno not in (errno.EPIPE, errno.EIO):
        raise
      nowhere = os.open(os.devnull, os.O_WRONLY)
      os.dup2(nowhere, self.fileno())
      os.close(nowhere)
      if error.errno == errno.EPIPE:
        raise ends.Ending(signal.SIGPIPE) from None
      # Otherwise the terminal is gone.
