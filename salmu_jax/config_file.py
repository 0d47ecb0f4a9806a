"""Loads the file that --config names, once, before the flags are parsed.

An error in it then names the file, the line and the reason; a wrong override, its field.
"""

import importlib.util
import inspect
import pathlib
import re
import sys
import traceback
from collections.abc import Sequence

from ml_collections import ConfigDict, FrozenConfigDict

from salmu_jax import errors
from salmu_jax.errors import InputError

_OVERRIDE = re.compile(r"--?(?P<no>no)?config\.(?P<path>[^=]*?)(?:=(?P<value>.*))?", re.DOTALL)
_RUNS = " Only runs that the config includes have fields; configs/mini.py:anchored adds anchored."
_ARGS = " A flag can only change arguments that the config file sets. Set others in args there."
_WRITE = "def get_config(names=''): ... return a ConfigDict, as the files in configs/ do."


def check_overrides(config: ConfigDict, argv: Sequence[str]) -> None:
  """Raises InputError for an override of a field that a config does not have.

  Args:
    config: as its file returns it. argv: of the command.
  """
  for argument in argv:
    override = _OVERRIDE.fullmatch(argument)
    if override:
      value = _field(config, override["path"])
      if override["no"] and (override["value"] is not None or not isinstance(value, bool)):
        raise InputError(
          f"{argument}: --no applies only to a field that is True or False, without a value. Write "
          f"--config.{override['path']}=VALUE."
        )


def load_named(named: str) -> ConfigDict:
  """The config of FILE or FILE:NAMES, see `load`."""
  file, colon, names = named.partition(":")
  return load(pathlib.Path(file), names if colon else None)


def load(path: pathlib.Path, names: str | None = None) -> ConfigDict:
  """The config that `get_config` of a file returns.

  Args:
    path: of the file. names: what follows its colon on the command line; None without a colon.

  Raises:
    InputError: the file does not exist, fails, or returns something else.
  """
  if not path.is_file():
    what = "is a folder" if path.is_dir() else "does not exist"
    raise InputError(f"--config={path} {what}. Name a config file, such as configs/mini.py.")
  spec = importlib.util.spec_from_loader("_config_of_this_run", loader=None)
  module = importlib.util.module_from_spec(spec)
  module.__file__ = str(path)
  sys.modules[spec.name] = module  # where dataclasses and pickle look for what it defines
  try:
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    make = _get_config(path, module, [] if names is None else [names])
    config = make() if names is None else make(names)
  except InputError:
    raise
  except (Exception, SystemExit, GeneratorExit, BaseExceptionGroup) as error:  # may be anything
    raise InputError(f"{_where(path, error)}: {type(error).__name__}: {error}") from error
  # A FrozenConfigDict takes no overrides.
  if not isinstance(config, ConfigDict) or isinstance(config, FrozenConfigDict):
    raise InputError(f"{path}: get_config returned {type(config).__name__}. Write {_WRITE}")
  return config


def wrong_type(argument: str, config: ConfigDict) -> str:
  """The message for an override whose value does not have the type of its field.

  Args:
    argument: --config.FIELD=VALUE, which passed `check_overrides`. config: as for that function.
  """
  default = config
  override = _OVERRIDE.fullmatch(argument)
  for part in override["path"].split("."):
    default = default[part]
  if isinstance(default, ConfigDict):
    section = f"config.{override['path']}"
    fields = ", ".join(f"--{section}.{name}" for name in list(default)[:3])
    return f"{section} is a section, which takes no value. " + (
      f"Set its fields: {fields}." if fields else "It has no fields."
    )
  return (
    f"config.{override['path']} = {override['value']!r}; it must be of type "
    f"{type(default).__name__}, such as {default!r}."
  )


def named(argv: Sequence[str]) -> str | None:
  """The value of --config, or None. Raises InputError if --config is given twice."""
  files = []
  for at, argument in enumerate(argv):
    name, equals, value = argument.partition("=")
    if name in ("--config", "-config"):
      files.append(value if equals else (argv[at + 1] if at + 1 < len(argv) else None))
  if len(files) > 1:
    raise InputError(
      f"--config is given {len(files)} times: {', '.join(map(str, files))}. Name one."
    )
  return files[0] if files else None


def _get_config(path, module, given):
  make = getattr(module, "get_config", None)
  if not callable(make):
    raise InputError(f"{path} has no function get_config. Write {_WRITE}")
  try:
    inspect.signature(make).bind(*given)
  except TypeError as error:
    raise InputError(f"{path}: get_config cannot be called ({error}). Write {_WRITE}") from error
  return make


def _where(path, error):
  """The config file and, if an error comes from a line in it, that line."""
  if isinstance(error, SyntaxError) and error.filename == str(path):
    return f"{path}, line {error.lineno}"
  frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
  return f"{path}, line {frames[-1].lineno}" if frames else str(path)


def _field(config, path):
  """The field of a config at a path; raises InputError if there is none."""
  section, where = config, "config"
  for part in path.split("."):
    if not isinstance(section, ConfigDict):
      raise InputError(f"{where} is {section!r}, not a section, so it has no field {part!r}.")
    if part not in section:
      of_run = where.startswith("config.unlearn.") and where.endswith(".args")
      hint = _RUNS if where == "config.unlearn" else _ARGS if of_run else ""
      raise InputError(errors.unknown(where, part, list(section)) + hint)
    section, where = section[part], f"{where}.{part}"
  return section
