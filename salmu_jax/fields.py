"""Checks of the fields of a config against a schema and a table of ranges."""

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from salmu_jax import errors, ranges
from salmu_jax.errors import InputError

# {field: its limit, or the table of a section}.
Ranges = Mapping[str, Any]


def check(
  section: Mapping[str, Any],
  schema: Mapping[str, Any],
  limits: Ranges,
  where: str,
  optional: Iterable[str] = (),
) -> None:
  """Raises InputError with all `faults` of a section."""
  errors.refuse(faults(section, schema, limits, where, optional))


def faults(
  section: Mapping[str, Any],
  schema: Mapping[str, Any],
  limits: Ranges,
  where: str,
  optional: Iterable[str] = (),
) -> list[str]:
  """The faults in the fields of a section and its subsections: names, types, ranges.

  Args:
    section: as the user gave it.
    schema: the same section with its defaults.
    limits: the table of its ranges; a field without an entry may have any value of its type.
    where: the path of the section, such as "config.pretrain".
    optional: fields that may be missing.

  Returns:
    A sentence for each fault, in the alphabetical order of a ConfigDict's fields.
  """
  sentences = [errors.unknown(where, name, list(schema)) for name in section if name not in schema]
  for name, default in schema.items():
    path = f"{where}.{name}"
    if name not in section:
      if name not in optional:
        sentences.append(f"{where} lacks the field {name!r}; see salmu_jax/defaults.py.")
    elif isinstance(default, ConfigDict):
      sentences += _faults_of_section(section[name], default, limits.get(name, {}), path)
    else:
      sentences += _faults_of_value(section[name], default, limits.get(name), path)
  return sentences


def _faults_of_section(value, schema, limits, path):
  if isinstance(value, ConfigDict):
    return faults(value, schema, limits, path)
  return [f"{path} is {errors.shown(value)}; it must hold the fields {', '.join(schema)}."]


def _faults_of_value(value, default, limit, path):
  if not _same_type(value, default):
    return [
      f"{path} is {errors.shown(value)}, {errors.kind(value)}; it must be {errors.kind(default)}, "
      f"such as {default!r}."
    ]
  return [] if limit is None else ranges.fault(path, value, limit)


def check_name(where: str, name: Any, names: Iterable[Any]) -> None:
  """Raises InputError unless `name` is one of `names`; the message suggests the nearest."""
  if name not in names:
    raise InputError(errors.unknown(where, name, list(names)))


def _same_type(value: Any, default: Any) -> bool:
  if isinstance(default, bool) or isinstance(value, bool):
    return isinstance(default, bool) and isinstance(value, bool)
  if isinstance(default, float):
    return isinstance(value, numbers.Real)
  return isinstance(value, type(default))
