"""How a process ends on a signal: SIGTERM, SIGHUP or Ctrl-C.

The main thread unwinds, so that temporary files are removed. A process that has not ended after
GRACE seconds, because it compiles for example, exits at once. Training delays the first SIGTERM
until its step is saved, see `holding`.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

GRACE = 5  # seconds
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending(BaseException):
  """The process ends on a signal.

  Args:
    number: of the signal; SIGPIPE if the reader of the output is gone.
  """

  def __init__(self, number: int):
    super().__init__(number)
    self.number = signal.Signals(number)

  @property
  def status(self) -> int:
    """The exit code that a shell reports for a program ended by the signal."""
    return 128 + self.number

  @property
  def message(self) -> str:
    """A line for the terminal; empty if nobody reads it."""
    if self.number == signal.SIGPIPE:
      return ""
    what = "Interrupted" if self.number == signal.SIGINT else f"Stopped by {self.number.name}"
    return f"{what}. Finished work is saved; rerun the same command to resume."


class _Signals:
  """The signals of this process. There is one instance, `_signals`.

  Attributes:
    came: (number, time) of each signal, in order.
    held: whether the first signal may wait.
    ending: whether the process is already ending; further signals, such as the second hangup of a
      lost terminal, are then ignored.
    said: whether the line was printed.
  """

  def __init__(self) -> None:
    self.came: list[tuple[int, float]] = []
    self.held = self.ending = self.said = False
    self._before: dict[int, Any] = {}
    self._writer: int | None = None

  def listen(self) -> bool:
    """Installs the handlers; false if that was done before."""
    for number in _SIGNALS:
      before = signal.getsignal(number)
      if before != signal.SIG_IGN:  # nohup ignores SIGHUP
        # Even if Python's handler seems installed: a C library may have replaced it since.
        signal.signal(number, self._receive)
        self._before.setdefault(number, signal.SIG_DFL if before is None else before)
    if self._writer is not None:
      return False
    # Python runs `_receive` between two instructions, and a compilation is one instruction. The
    # thread learns of a signal at once.
    reader, self._writer = os.pipe()
    os.set_blocking(self._writer, False)
    signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
    threading.Thread(target=self._watch, args=(reader,), daemon=True).start()
    return True

  def stop_listening(self) -> None:
    """Restores the previous handlers."""
    for number, before in self._before.items():
      signal.signal(number, before)
    signal.set_wakeup_fd(-1)
    os.close(self._writer)
    self._before, self._writer, self.ending = {}, None, False

  def ignore(self) -> None:
    """Ignores the signals until the process is gone; on exit Python would restore the defaults."""
    for number in self._before:
      signal.signal(number, signal.SIG_IGN)

  def _receive(self, number, frame):
    del frame
    if _add(self.came, number) and not self._waits(self.came) and not self.ending:
      self.ending = True
      raise Ending(number)

  def _waits(self, signals):
    """Whether training may save its step first: one signal came, and it is not Ctrl-C."""
    return self.held and len(signals) == 1 and signals[0][0] != signal.SIGINT

  def _watch(self, reader):
    heard = []
    while number := os.read(reader, 1):
      if number[0] in _SIGNALS and _add(heard, number[0]) and not self._waits(heard):
        time.sleep(GRACE)
        end_now(Ending(heard[-1][0]))
    os.close(reader)


def _add(signals, number):
  """Adds a signal to those that came; false for a repeated hangup.

  A terminal that closes sends a hangup, and then its shell sends it again.
  """
  now = time.monotonic()
  if number == signal.SIGHUP and any(
    other == number and now - then < GRACE for other, then in signals
  ):
    return False
  signals.append((number, now))
  return True


_signals = _Signals()


def listen() -> None:
  """Handles SIGTERM, SIGHUP and Ctrl-C, again if a library has replaced the handlers meanwhile."""
  _signals.listen()


@contextlib.contextmanager
def with_one_line() -> Iterator[None]:
  """Ends the process with one line and the status of the signal, if one comes within the block."""
  if threading.current_thread() is not threading.main_thread():  # only it gets signals
    yield
    return
  ours, before = False, sys.unraisablehook
  try:
    ours = _signals.listen()
    sys.unraisablehook = functools.partial(_end_in_callback, before)
    yield
  except (Ending, KeyboardInterrupt) as error:
    _signals.ending = True
    ending = error if isinstance(error, Ending) else Ending(signal.SIGINT)
    _say(ending)
    _end_workers()  # Python would wait for them.
    _signals.ignore()
    sys.exit(ending.status)
  finally:
    sys.unraisablehook = before
    if ours and not _signals.came:
      _signals.stop_listening()
    elif ours:
      _signals.ending = True  # Nothing would catch an exception from here on.


def _end_in_callback(otherwise, unraisable):
  """Ends the process on an Ending in a callback, such as a finalizer, where Python ignores it."""
  if isinstance(unraisable.exc_value, Ending):
    end_now(unraisable.exc_value)
  otherwise(unraisable)


@contextlib.contextmanager
def holding() -> Iterator[Callable[[], bool]]:
  """Yields asked() -> bool: whether SIGTERM or SIGHUP came; the first does not end the process.

  Ctrl-C and a second signal do; a repeated hangup counts as one.
  """
  _signals.held = True
  try:
    yield lambda: bool(_signals.came)
  finally:
    _signals.held = False


def status() -> int:
  """The exit code of a process that has saved its work because of a signal."""
  return Ending(_signals.came[0][0] if _signals.came else signal.SIGTERM).status


@contextlib.contextmanager
def starting_workers() -> Iterator[None]:
  """Processes started within the block do not receive Ctrl-C, which ends their parent."""
  before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_now(ending: Ending) -> NoReturn:
  """Ends the process and its workers at once."""
  _say(ending)
  _end_workers()
  os._exit(ending.status)


def _end_workers():
  for worker in multiprocessing.active_children():
    worker.kill()


def _say(ending):
  """Prints the line, once, unless nobody can read it."""
  if ending.message and not _signals.said:
    _signals.said = True
    with contextlib.suppress(OSError):
      # Not through sys.stderr, which another thread may hold.
      os.write(2, f"\n{ending.message}\n".encode())
