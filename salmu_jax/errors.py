"""Errors that the user can correct, and the exception of a run that stops on request."""

import difflib
from collections.abc import Callable, Iterable, Sequence

_MOST = 20  # faults that an error lists


class InputError(ValueError):
  """Bad input from the user: a config field, a file or a row.

  The message is one paragraph that names the field, file or row, what was found, and what would be
  right; several faults have a line each. `main.py` prints it without a traceback and exits with a
  non-zero code.
  """


class UnwritableError(InputError):
  """A file cannot be written: the disk is full, or the place is not writable."""


def refuse(faults: Sequence[str]) -> None:
  """Raises InputError if there are faults; the message has a line for each."""
  if faults:
    raise InputError("\n".join(faults))


def found(checks: Iterable[Callable[[], object]]) -> list[str]:
  """All faults that checks raise as InputError."""
  faults = []
  for check in checks:
    try:
      check()
    except InputError as error:
      faults += str(error).splitlines()
  return faults


def listed(faults: Sequence[str], where: str) -> str:
  """A single fault as it is, several as a list of up to twenty.

  Args:
    faults: a sentence each. where: what contains them, such as "the config".
  """
  if len(faults) == 1:
    return faults[0]
  lines = [f"{len(faults)} errors in {where}:", *(f"- {f}" for f in faults[:_MOST])]
  lines += [f"- and {len(faults) - _MOST} more"] if len(faults) > _MOST else []
  return "\n".join(lines)


class Stopped(Exception):
  """The run stopped on request and its work is saved; the message says where it stopped."""


def unknown(where: str, name: object, choices: Iterable[object]) -> str:
  """The message for an unknown name: it lists the nearest valid name and all valid names.

  Args:
    where: the config field or the table.
    name: what was found.
    choices: the valid names.
  """
  names = [str(choice) for choice in choices]
  nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
  hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
  listed = ", ".join(names) or "none"
  return f"{where}: unknown name {shown(name)}.{hint} Known: {listed}."


def kind(value: object) -> str:
  """The type of a value, with its article."""
  name = type(value).__name__
  return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def shown(value: object) -> str:
  """A value as errors show it: long ones are cut, and a huge integer is described by its size."""
  if isinstance(value, int) and abs(value) >= 10**30:  # Python refuses to print huge integers
    return f"a whole number of {value.bit_length()} bits"
  text = repr(value)
  return text if len(text) <= 80 else f"{text[:80]}..."
