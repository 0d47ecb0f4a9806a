"""What the terminal shows: a line for each stage, and live bars on a terminal only."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Progress goes to stderr; stdout is for the leaderboard.
console = Console(stderr=True, highlight=False)


@contextlib.contextmanager
def bar(label: str, total: int) -> Iterator[Callable[..., None]]:
  """Yields update(done, text=""), which moves a progress bar with its rate and the time left.

  No bar is shown where stderr is not a terminal.

  Args:
    label: of the bar.
    total: how many steps or rows make it full.
  """
  columns = (
    TextColumn("  {task.description}"),
    BarColumn(bar_width=30),
    MofNCompleteColumn(),
    TextColumn("{task.fields[rate]}"),
    TimeRemainingColumn(),
    TextColumn("[dim]{task.fields[text]}"),
  )
  quiet = not console.is_terminal
  with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
    task = progress.add_task(label, total=total, rate="", text="")

    def update(done, text=""):
      speed = progress.tasks[0].speed
      rate = f"{speed:,.1f}/s" if speed else ""
      progress.update(task, completed=done, rate=rate, text=text)

    yield update


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
