"""Parts of methods in a config: a name, or a pair of a name and its arguments."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from salmu_jax import ranges
from salmu_jax.errors import InputError, unknown

# A name, or a pair of a name and its arguments.
Part = str | tuple[str, Mapping[str, Any]]


def named(
  where: str, part: Part, example: str = "('keep_salient', {'fraction': 0.3})"
) -> tuple[str, dict[str, Any]]:
  """Returns (name, arguments) of a part.

  Args:
    where: the field that an error names. part: see `Part`. example: a valid pair, for the error.

  Raises:
    InputError: `part` is neither a name nor a pair; the message names `where`.
  """
  if isinstance(part, str):
    return part, {}
  pair = list(part) if isinstance(part, tuple | list) else []
  if len(pair) == 2 and isinstance(pair[0], str) and hasattr(pair[1], "items"):
    return pair[0], dict(pair[1].items())
  raise InputError(
    f"{where}: {part!r} is neither a name nor a pair of a name and its arguments, such as "
    f"{example}."
  )


def called(
  where: str, name: str, maker: Callable, args: Mapping[str, Any], of_the_run: Mapping[str, Any]
) -> Any:
  """Calls `maker` with the arguments of a part, and with those of the run that it takes.

  Args:
    where: the field that errors name. name: of the part. maker: its function.
    args: of the part. of_the_run: values of "steps" and "seed", or empty.

  Raises:
    InputError: an argument is unknown, out of its range, or missing.
  """
  parameters = inspect.signature(maker).parameters
  for arg in args:
    if arg not in parameters or arg in of_the_run:
      right = [k for k in parameters if k not in of_the_run]
      raise InputError(unknown(f"{where}: {name}", arg, right))
  try:
    ranges.check(maker, args)
  except InputError as error:
    raise InputError(f"{where}: {name}: {error}") from error
  filled = {k: v for k, v in of_the_run.items() if k in parameters}
  lacking = [
    k for k, p in parameters.items() if p.default is p.empty and k not in args and k not in filled
  ]
  if lacking:
    example = ", ".join(f"{k!r}: ..." for k in lacking)
    raise InputError(
      f"{where}: {name} needs {', '.join(lacking)}; write ({name!r}, {{{example}}})."
    )
  return maker(**args, **filled)
