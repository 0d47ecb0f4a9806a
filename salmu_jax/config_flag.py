"""Parses the flags of a command that takes --config, and explains errors in them."""

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
# Where configs/ may be: beside the package in a checkout, inside it when installed.
_CONFIGS = (_PACKAGE.parent, _PACKAGE / "share")


def define(about: str) -> flags.FlagHolder:
  """Defines the flag --config, with `about` as its help."""
  try:
    holder = config_flags.DEFINE_config_file("config", None, about)
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS["config"])  # --help shows it
    return holder
  except flags.Error as error:  # It reads files of flags at once, before any flag is parsed.
    sys.exit(f"\nsalmu_jax cannot go on. {_reason(error)}.")


def with_configs(argv: list[str]) -> list[str]:
  """The arguments; if --config is not a file here, it becomes that file in the installed configs/.

  Also extends sys.path, so that configs and methods of the working directory can be imported.
  """
  home = next(home for home in _CONFIGS if (home / "configs" / "methods").is_dir())
  # Appended, so that no file here hides a package.
  sys.path += [path for path in (os.getcwd(), str(home)) if path not in sys.path]
  return [_located(argument, home) for argument in argv]


def _located(argument, home):
  name, equals, value = argument.partition("=")
  file, colon, methods = value.partition(":")
  if name.lstrip("-") != "config" or not equals or pathlib.Path(file).exists():
    return argument
  return f"{name}={home / file}{colon}{methods}" if (home / file).is_file() else argument


def parse(argv: list[str]) -> list[str]:
  """Parses the flags; raises InputError for a wrong flag or a faulty config file."""
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
  """Raises InputError if absl could not write its profile, which it does when the command ends."""
  folder = pathlib.Path(file or ".").absolute().parent
  if file and (pathlib.Path(file).is_dir() or not os.access(folder, os.W_OK)):
    raise InputError(
      f"--profile_file={file} cannot be written. Name a file in a folder that exists and is "
      "writable."
    )


def _config(argv):
  """The config that the command line names, or None. --config will be parsed to it."""
  named = config_file.named(argv)
  if named is None:
    return None
  variables.check()  # before the file, which loads JAX
  config = config_file.load_named(named)
  config_file.check_overrides(config, argv)
  # ml_collections would run the file a second time.
  flags.FLAGS["config"].parser.parse = lambda _: config.lock()
  return config


def explained(error: Exception, config: ConfigDict | None) -> InputError:
  """The InputError that caused an error of the flags, or else one that explains the error.

  The flags are not parsed again to print absl's own message, because absl would then refuse every
  override as a duplicate.
  """
  input_errors = [cause for cause in causes(error) if isinstance(cause, InputError)]
  if input_errors:
    # The innermost error: the outer ones carry a traceback in their text.
    return input_errors[-1]
  wrong = re.match(r"flag (--config\.\S+?=.*?): ", str(error), re.DOTALL)
  if wrong:
    return InputError(config_file.wrong_type(wrong[1], config))
  reason = _reason(error)
  return InputError(f"{reason}{'' if reason.endswith('?') else '.'} --help lists the flags.")


def _reason(error):
  """absl's message on one line, without its full stop."""
  return " ".join(str(error).removeprefix("ERROR:: ").split()).rstrip(".").replace(" ?", "?")


def causes(error: BaseException | None) -> Iterator[BaseException]:
  """An exception and the exceptions that caused it."""
  while error is not None:
    yield error
    error = error.__cause__ or error.__context__
