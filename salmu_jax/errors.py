"""Input that a user can mend, and an end that was asked for."""

import difflib


class InputError(ValueError):
  """Bad input from the user: a config field, a file or a row.

  The message is one paragraph that names the field, file or row, says what was found and what
  would be right. `main.py` prints it without a traceback and exits with a non-zero code.
  """


class Stopped(Exception):
  """The run was asked to end, and has saved what there was to save. The message says where it
  stood.
  """


def unknown(where, name, known):
  """One paragraph: the name, the nearest known one, and all of them.

  Args:
    where: the config field or table that was asked.
    name: what was given. known: what would be right.
  """
  near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
  hint = f" Did you mean {near[0]!r}?" if near else ""
  listed = ", ".join(str(k) for k in known) or "none"
  return f"{where}: unknown name {name!r}.{hint} Known: {listed}."
