"""Output into a pipe whose reader ends first, such as `head`: the command ends too, and quietly."""

import contextlib
import os
import select
import sys
from collections.abc import Iterator

_ENDED = 141  # as a shell says of a program that SIGPIPE has ended


@contextlib.contextmanager
def ending_quietly() -> Iterator[None]:
  """Ends the process with status 141 if nobody reads its output any more.

  Raises:
    BrokenPipeError: of another pipe or connection.
  """
  try:
    try:
      yield
    finally:
      if sys.stdout:  # none where it was closed from the start
        sys.stdout.flush()
  except BrokenPipeError:
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream]
    closed = [stream for stream in streams if _is_closed(stream.fileno())]
    if not closed:
      raise
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in closed:  # Python writes what is left when it ends.
      os.dup2(nowhere, stream.fileno())
    sys.exit(_ENDED)


def _is_closed(descriptor: int) -> bool:
  """Whether the reader of a pipe is gone."""
  poll = select.poll()
  poll.register(descriptor, select.POLLOUT)
  return any(event & select.POLLERR for _, event in poll.poll(0))
