"""Parses the flags of a command that has --config, and says what is wrong with them."""

import os
import pathlib
import re
import sys
from collections.abc import Iterator

from absl import app, flags

from salmu_jax import config_file
from salmu_jax.errors import InputError

_PACKAGE = pathlib.Path(__file__).parent
# Where configs/ is: beside the package in a checkout, in it where it is installed.
_CONFIGS = (_PACKAGE.parent, _PACKAGE / "share")


def with_configs(argv: list[str]) -> list[str]:
  """The arguments, with --config naming a file of configs/ that came along if there is no such file
  here. Configs then find one another, and methods of the working directory are found.
  """
  home = next(home for home in _CONFIGS if (home / "configs" / "methods").is_dir())
  # Last, so that nothing here hides a package.
  sys.path += [path for path in (os.getcwd(), str(home)) if path not in sys.path]
  return [_located(argument, home) for argument in argv]


def _located(argument, home):
  name, equals, value = argument.partition("=")
  file, colon, methods = value.partition(":")
  if name.lstrip("-") != "config" or not equals or pathlib.Path(file).exists():
    return argument
  return f"{name}={home / file}{colon}{methods}" if (home / file).is_file() else argument


def parse(argv: list[str]) -> list[str]:
  """Parses the flags; raises the InputError of a config file as such, without absl's traceback."""
  argv = with_configs(argv)
  config_file.check(argv)
  try:
    rest = flags.FLAGS(argv)
    getattr(
      flags.FLAGS["config"].value, "seed", None
    )  # a file that could not be read fails at its first use
    return rest
  except (flags.Error, InputError) as error:
    input_errors = [cause for cause in causes(error) if isinstance(cause, InputError)]
    if input_errors:
      # The innermost error: the outer ones carry a traceback in their text.
      raise input_errors[-1] from None
    wrong = re.match(r"flag (--config\.\S+?=.*?): ", str(error), re.DOTALL)
    if wrong:
      # Parsed once more, as below, the override of a field would be refused for being there twice.
      raise InputError(config_file.wrong_type(wrong[1], argv)) from error
    return app.parse_flags_with_usage(argv)


def causes(error: BaseException | None) -> Iterator[BaseException]:
  """An exception and all exceptions that led to it."""
  while error is not None:
    yield error
    error = error.__cause__ or error.__context__
