"""Terminal output: a line for each stage, and progress bars, which become lines in a log."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def terminal(**options: Any) -> Console:
  """A console that prints text as it is: brackets in users' names and paths are not markup."""
  return Console(markup=False, emoji=False, **options)


# Progress goes to stderr; stdout is for the leaderboard.
console = terminal(stderr=True, highlight=False)
_EVERY = 30  # seconds between two lines of a bar in a log


@contextlib.contextmanager
def bar(label: str, total: int) -> Iterator[Callable[..., None]]:
  """Yields update(done, text=""), which moves a progress bar with its rate and the time left.

  If stderr is not a terminal, it prints the same as a line, at most twice a minute.

  Args:
    label: of the bar.
    total: the number of steps or rows of a full bar.
  """
  if not console.is_terminal:
    yield _lines(label, total)
    return
  columns = (
    TextColumn("  {task.description}", markup=False),
    BarColumn(bar_width=30),
    MofNCompleteColumn(),
    TextColumn("{task.fields[rate]}", markup=False),
    TimeRemainingColumn(),
    TextColumn("{task.fields[text]}", style="dim", markup=False),
  )
  with Progress(*columns, console=console, transient=True) as progress:
    task = progress.add_task(label, total=total, rate="", text="")

    def update(done, text=""):
      speed = progress.tasks[0].speed
      rate = f"{speed:,.1f}/s" if speed else ""
      progress.update(task, completed=done, rate=rate, text=text)

    yield update


def _lines(label, total):
  """The `update` of a bar that is printed to a log."""
  first = began = shown = None

  def update(done, text=""):
    nonlocal first, began, shown
    now = time.monotonic()
    if began is None:
      first, began, shown = done, now, now
    if now - shown < _EVERY or now == began:
      return
    rate, shown = (done - first) / (now - began), now
    left = f", {duration((total - done) / rate)} left" if rate else ""
    line = f"  {label}: {done:,} of {total:,}, {rate:,.1f}/s{left}  {text}"
    console.print(line.rstrip(), soft_wrap=True)

  return update


@contextlib.contextmanager
def counting(label: str, total: int) -> Iterator[Callable[..., None]]:
  """Yields tick(number=1), which adds to the number that a `bar` shows as done."""
  with bar(label, total) as update:
    done = shown = 0

    def tick(number=1):
      nonlocal done, shown
      done += number
      if done - shown >= 32 or done == total:
        update(done)
        shown = done

    yield tick


def duration(seconds: float) -> str:
  """Seconds in words: "0.4 s", "42 s", "3 min 05 s"."""
  if seconds < 10:
    return f"{seconds:.1f} s"
  if seconds < 60:
    return f"{seconds:.0f} s"
  return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
