"""Checks of the fields of a config, for the modules that own its sections."""

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from salmu_jax import errors
from salmu_jax.errors import InputError


def check_same(
  section: Mapping[str, Any],
  schema: Mapping[str, Any],
  where: str,
  optional: Iterable[str] = (),
) -> None:
  """Raises InputError unless a section has the fields and types of the schema, at every depth.

  Args:
    section: as the user gave it.
    schema: the same section with its defaults.
    where: the path of the section, such as "config.pretrain".
    optional: fields that may be missing.
  """
  for name, value in section.items():
    check_name(where, name, list(schema))
    default, path = schema[name], f"{where}.{name}"
    if isinstance(default, ConfigDict):
      if not isinstance(value, ConfigDict):
        raise InputError(f"{path} is {value!r}; it must hold the fields {', '.join(default)}.")
      check_same(value, default, path)
    elif not _same_type(value, default):
      raise InputError(
        f"{path} is {value!r}, a {type(value).__name__}; it must be a {type(default).__name__}, "
        f"such as {default!r}."
      )
  missing = [name for name in schema if name not in section and name not in optional]
  if missing:
    raise InputError(f"{where} lacks the field {missing[0]!r}; see salmu_jax/defaults.py.")


def check_name(where: str, name: Any, names: Iterable[Any]) -> None:
  """Raises InputError unless `name` is one of `names`; the message suggests the nearest."""
  if name not in names:
    raise InputError(errors.unknown(where, name, list(names)))


def check_positive(section: Mapping[str, Any], where: str, *names: str) -> None:
  """Raises InputError unless the named fields of a section are above 0 and finite."""
  for name in names:
    if not 0 < section[name] < math.inf:
      raise InputError(f"{where}.{name} = {section[name]!r}; it must be more than 0, and finite.")


def check_not_negative(section: Mapping[str, Any], where: str, *names: str) -> None:
  """Raises InputError unless the named fields of a section are 0 or more, and finite."""
  for name in names:
    if not 0 <= section[name] < math.inf:
      raise InputError(f"{where}.{name} = {section[name]!r}; it must be 0 or more, and finite.")


def check_share(section: Mapping[str, Any], where: str, *names: str) -> None:
  """Raises InputError unless the named fields of a section are between 0 and 1, both included."""
  for name in names:
    if not 0 <= section[name] <= 1:
      raise InputError(f"{where}.{name} = {section[name]!r}; it is a share, from 0 to 1.")


def check_seed(where: str, seed: int) -> None:
  """Raises InputError unless `seed` is one that numpy's generators take."""
  if not 0 <= seed < 2**32:
    raise InputError(f"{where} = {seed}; it must be 0 or more, and less than 2**32.")


def _same_type(value: Any, default: Any) -> bool:
  if isinstance(default, bool) or isinstance(value, bool):
    return isinstance(default, bool) and isinstance(value, bool)
  if isinstance(default, float):
    return isinstance(value, numbers.Real)
  return isinstance(value, type(default))
