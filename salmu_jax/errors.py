"""Input that a user can mend, and an end that was asked for."""


class InputError(ValueError):
  """Bad input from the user: a config field, a file or a row.

  The message is one paragraph that names the field, file or row, says what was found and what
  would be right. `main.py` prints it without a traceback and exits with a non-zero code.
  """


class Stopped(Exception):
  """The run was asked to end, and has saved what there was to save. The message says where it
  stood.
  """
