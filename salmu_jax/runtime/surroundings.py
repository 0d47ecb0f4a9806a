"""Prepares the environment of a command."""

import os
import pathlib
import sys
import tempfile
import warnings


def settle() -> None:
  """Removes settings that are meant for other programs, and sets a home folder if there is none.

  Containers may run as a user without one, and Matplotlib and Altair look for it on import.
  """
  # A notebook sets it, and passes it on to the commands of its cells, which show no figures.
  os.environ.pop("MPLBACKEND", None)
  _show_warnings()
  try:
    pathlib.Path.home()
  except RuntimeError:
    os.environ["HOME"] = tempfile.gettempdir()


def _show_warnings():
  """Shows warnings that PYTHONWARNINGS or -W turns into errors, here and in worker processes.

  Libraries continue after a warning, and an error there would seem to be one of an input file.
  """
  kept = [option for option in sys.warnoptions if not _is_error(option)]
  if kept == sys.warnoptions:
    return
  print(
    "PYTHONWARNINGS or -W turns warnings into errors; salmu_jax shows the warnings instead.",
    file=sys.stderr,
  )
  sys.warnoptions[:] = kept  # passed on to workers
  if "PYTHONWARNINGS" in os.environ:
    options = os.environ["PYTHONWARNINGS"].split(",")
    os.environ["PYTHONWARNINGS"] = ",".join(option for option in options if not _is_error(option))
  shown = [
    ("default" if action == "error" else action, *rest) for action, *rest in warnings.filters
  ]
  warnings.resetwarnings()
  warnings.filters.extend(shown)


def _is_error(option):
  action = option.partition(":")[0].strip()
  return bool(action) and "error".startswith(action)
