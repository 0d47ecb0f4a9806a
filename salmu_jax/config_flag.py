"""Parses the flags of a command that has --config, and says what is wrong with them."""

import os
import pathlib
import re
import sys
from collections.abc import Iterator

from absl import flags
from ml_collections import ConfigDict, config_flags

from salmu_jax import config_file, variables
from salmu_jax.errors import InputError

_PACKAGE = pathlib.Path(__file__).parent
# Where configs/ is: beside the package in a checkout, in it where it is installed.
_CONFIGS = (_PACKAGE.parent, _PACKAGE / "share")


def define(about: str) -> flags.FlagHolder:
  """The flag --config of a command; --help says `about` of it."""
  try:
    holder = config_flags.DEFINE_config_file("config", None, about)
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS["config"])  # --help shows it
    return holder
  except flags.Error as error:  # It looks into files of flags at once, before any is parsed.
    sys.exit(f"\nsalmu_jax cannot go on. {_reason(error)}.")


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
  """Parses the flags; raises an InputError for what is wrong with them, or with the config file."""
  try:
    argv = [argv[0], *flags.FLAGS.read_flags_from_files(argv[1:], force_gnu=False)]
  except flags.Error as error:
    raise explained(error, None) from None
  argv = with_configs(argv)
  config = _config(argv)
  try:
    rest = flags.FLAGS(argv)
  except (flags.Error, ValueError) as error:  # some of absl's own flags raise ValueError
    raise explained(error, config) from None
  _check_profile(flags.FLAGS["profile_file"].value)
  return rest


def _check_profile(file):
  """Raises InputError where absl could not write the profile of a command, which it does last."""
  folder = pathlib.Path(file or ".").absolute().parent
  if file and (pathlib.Path(file).is_dir() or not os.access(folder, os.W_OK)):
    raise InputError(
      f"--profile_file={file} cannot be written. Name a file in a folder that is there and open to "
      "writing."
    )


def _config(argv):
  """The config of the command line, which becomes what --config is parsed to; None without one."""
  named = config_file.named(argv)
  if named is None:
    return None
  variables.check()  # before the file, which loads JAX
  config = config_file.load_named(named)
  config_file.check_overrides(config, argv)
  # The file is not run again, which ml_collections would do.
  flags.FLAGS["config"].parser.parse = lambda _: config.lock()
  return config


def explained(error: Exception, config: ConfigDict | None) -> InputError:
  """The InputError that caused an error of the flags; else one that says what is wrong with them.

  absl's own words are not printed by parsing once more: it would refuse every override of a field
  for being there twice.
  """
  found = [cause for cause in causes(error) if isinstance(cause, InputError)]
  if found:
    # The innermost error: the outer ones carry a traceback in their text.
    return found[-1]
  wrong = re.match(r"flag (--config\.\S+?=.*?): ", str(error), re.DOTALL)
  if wrong:
    return InputError(config_file.wrong_type(wrong[1], config))
  reason = _reason(error)
  return InputError(f"{reason}{'' if reason.endswith('?') else '.'} --help lists the flags.")


def _reason(error):
  """What absl says, in one line and without a full stop."""
  return " ".join(str(error).removeprefix("ERROR:: ").split()).rstrip(".").replace(" ?", "?")


def causes(error: BaseException | None) -> Iterator[BaseException]:
  """An exception and all exceptions that led to it."""
  while error is not None:
    yield error
    error = error.__cause__ or error.__context__
