"""The one exception for input that a user can mend."""


class InputError(ValueError):
  """Bad input from the user: a config field, a file or a row.

  The message is one paragraph that names the field, file or row, says what was found and what
  would be right. `main.py` prints it without a traceback and exits with a non-zero code.
  """
