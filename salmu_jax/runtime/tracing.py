"""Profiles of some training steps, for Perfetto and XProf."""

import contextlib
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterator

import jax

from salmu_jax.errors import InputError
from salmu_jax.runtime import hosts, places, progress
from salmu_jax.runtime.places import Place

FOLDER = "profile"


def steps(text: str) -> tuple[int, int] | None:
  """The first and the last step of `--profile=FROM:TO`; None if it is empty.

  Raises:
    InputError: they are not numbers of steps.
  """
  if not text:
    return None
  match = re.fullmatch(r"([0-9]{1,12}):([0-9]{1,12})", text)
  first, last = map(int, match.groups()) if match else (0, 0)
  if not 1 <= first <= last:
    raise InputError(f"--profile={text} is not FROM:TO, the numbers of two steps, such as 20:24.")
  return first, last


@contextlib.contextmanager
def tracing(chosen: tuple[int, int] | None, folder: Place) -> Iterator[Callable[[int], None]]:
  """Yields trace(step), to call before each step; the chosen steps are traced.

  The first process writes the trace to folder/profile, in TensorBoard's layout.

  Args:
    chosen: from `steps`. folder: of the training stage.
  """
  if chosen is None or not hosts.is_first():
    yield lambda step: None
    return
  with tempfile.TemporaryDirectory(prefix="salmu_jax-") as temporary:
    running = False

    def stop():
      nonlocal running
      if running:
        running = False
        jax.profiler.stop_trace()
        _keep(pathlib.Path(temporary), folder / FOLDER)

    def trace(step):
      nonlocal running
      if step > chosen[1]:
        stop()
      elif step >= chosen[0] and not running:
        running = True
        jax.profiler.start_trace(temporary, create_perfetto_trace=True)

    try:
      yield trace
    finally:
      stop()


def _keep(temporary, folder):
  places.send(temporary, folder)
  progress.console.print(f"profile: {folder}", markup=False, soft_wrap=True)
