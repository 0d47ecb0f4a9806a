"""The wall time of a run's stages, kept in its workdir and shown when it ends."""

import os
import resource
import sys
import time
from typing import NamedTuple

from rich.table import Table

from salmu_jax.errors import InputError
from salmu_jax.runtime import compilations, files, hosts, places, progress

FILE = "times.json"


class Stage(NamedTuple):
  """A stage of a run; `seconds` is None if it was done before times were recorded."""

  name: str
  seconds: float | None
  reused: bool


class Recorder:
  """Records the seconds of every stage. There is one instance, `recorder`."""

  def __init__(self) -> None:
    self.begin(None)

  def begin(self, folder: str | os.PathLike | None) -> None:
    """Starts recording a run.

    Args:
      folder: the workdir, whose times.json is continued; None writes nothing.
    """
    self._file = folder and places.place(folder) / FILE
    self._kept = _read(self._file) if folder else {}
    self._stages: list[Stage] = []
    self._began, self._compiled = time.monotonic(), compilations.tally()

  def done(self, name: str, seconds: float) -> None:
    """Records a stage that has just been done, and writes times.json."""
    self._stages.append(Stage(name, seconds, reused=False))
    self._kept[name] = seconds
    if self._file and hosts.is_first():
      files.write_json(self._file, {"stages": self._kept, "last_run": self._about()})

  def reused(self, name: str) -> None:
    """Records a stage that an earlier run has done."""
    self._stages.append(Stage(name, self._kept.get(name), reused=True))

  def table(self) -> Table:
    """The stages of the run so far, in the order in which they were recorded."""
    about = self._about()
    table = Table(title="times", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for name, seconds, reused in self._stages:
      shown = "" if seconds is None else progress.duration(seconds)
      table.add_row(name, shown, "done before" if reused else "", style="dim" if reused else None)
    table.add_section()
    memory = f"peak memory {about['peak_memory_bytes'] / 2**30:.1f} GiB"
    table.add_row("this run", progress.duration(about["seconds"]), memory)
    programs = f"{about['programs_compiled']} programs compiled, {about['programs_read']} read"
    table.add_row("of which compiling", progress.duration(about["compiling_seconds"]), programs)
    return table

  def _about(self):
    """The section of times.json on this run so far."""
    now = compilations.tally()
    programs, read, seconds = (a - b for a, b in zip(now, self._compiled, strict=True))
    return {
      "reused": [stage.name for stage in self._stages if stage.reused],
      "seconds": time.monotonic() - self._began,
      "compiling_seconds": seconds,
      "programs_compiled": programs - read,
      "programs_read": read,
      "peak_memory_bytes": peak_memory(),
    }


recorder = Recorder()


def peak_memory() -> int:
  """The peak memory of this process, in bytes."""
  unit = 1 if sys.platform == "darwin" else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _read(file):
  """{stage: seconds} of earlier runs. Runs do not depend on it, so a damaged file is no error."""
  if not file.exists():
    return {}
  try:
    return dict(files.read_json(file)["stages"])
  except (InputError, KeyError, TypeError, ValueError):
    progress.console.print(f"{file} cannot be read; the times of earlier runs are lost.")
    return {}
