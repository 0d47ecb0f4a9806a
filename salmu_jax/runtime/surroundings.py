"""What a command needs of its environment, whoever starts it."""

import os
import pathlib
import tempfile


def settle() -> None:
  """Takes out of the environment what only others need, and adds the home folder that is missing.

  Containers run as users without one, and Matplotlib and Altair look for it when they are imported.
  """
  # A notebook sets it for itself, and a cell that starts a command passes it on; nothing is shown
  # here.
  os.environ.pop("MPLBACKEND", None)
  try:
    pathlib.Path.home()
  except RuntimeError:
    os.environ["HOME"] = tempfile.gettempdir()
