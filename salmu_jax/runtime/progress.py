"""What the terminal shows: stage lines always, live bars only where somebody watches."""

import contextlib

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Progress goes to stderr; stdout is for what a run is for, the leaderboard.
console = Console(stderr=True, highlight=False)


@contextlib.contextmanager
def bar(label, total):
  """Yields update(done, text=""), which moves a bar with rate and time left on a terminal.

  Elsewhere it stays quiet.
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
def counting(label, total):
  """Yields tick(number=1), which counts so many more done on a `bar`."""
  with bar(label, total) as update:
    done = shown = 0

    def tick(number=1):
      nonlocal done, shown
      done += number
      if done - shown >= 32 or done == total:
        update(done)
        shown = done

    yield tick
