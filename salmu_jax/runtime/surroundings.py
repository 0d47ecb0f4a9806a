"""What a command needs of its environment, whoever starts it."""

import os
import pathlib
import sys
import tempfile
import warnings


def settle() -> None:
  """Takes out of the environment what only others need, and adds the home folder that is missing.

  Containers run as users without one, and Matplotlib and Altair look for it when they are imported.
  """
  # A notebook sets it for itself, and a cell that starts a command passes it on; nothing is shown
  # here.
  os.environ.pop("MPLBACKEND", None)
  _show_warnings()
  try:
    pathlib.Path.home()
  except RuntimeError:
    os.environ["HOME"] = tempfile.gettempdir()


def _show_warnings():
  """Shows the warnings that PYTHONWARNINGS or -W makes errors, here and in worker processes.

  Libraries warn of what they go on from, and an error there would be taken for one of a file.
  """
  kept = [option for option in sys.warnoptions if not _is_error(option)]
  if kept == sys.warnoptions:
    return
  print(
    "PYTHONWARNINGS or -W makes errors of warnings; salmu_jax shows the warnings instead.",
    file=sys.stderr,
  )
  sys.warnoptions[:] = kept  # which workers get
  if "PYTHONWARNINGS" in os.environ:
    options = os.environ["PYTHONWARNINGS"].split(",")
    os.environ["PYTHONWARNINGS"] = ",".join(each for each in options if not _is_error(each))
  shown = [
    ("default" if action == "error" else action, *rest) for action, *rest in warnings.filters
  ]
  warnings.resetwarnings()
  warnings.filters.extend(shown)


def _is_error(option):
  action = option.partition(":")[0].strip()
  return bool(action) and "error".startswith(action)
