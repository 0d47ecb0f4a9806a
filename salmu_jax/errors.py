"""Input that the user can correct, and a run that stops on request."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
  """Bad input from the user: a config field, a file or a row.

  The message is one paragraph that names the field, file or row, what was found, and what would be
  right. `main.py` prints it without a traceback and exits with a non-zero code.
  """


class UnwritableError(InputError):
  """A file cannot be written: the disk is full, or the place is closed to writing."""


class Stopped(Exception):
  """The run stopped on request and its work is saved; the message says where it stopped."""


def unknown(where: str, name: object, choices: Iterable[object]) -> str:
  """The message for a name that is not in a table: the nearest valid name, and all of them.

  Args:
    where: the config field or the table.
    name: what was found.
    choices: the valid names.
  """
  names = [str(choice) for choice in choices]
  nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
  hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
  listed = ", ".join(names) or "none"
  return f"{where}: unknown name {name!r}.{hint} Known: {listed}."
