"""Reads a results file strictly, and finds what JSON allows but a results file must not hold."""

import collections
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from salmu_jax.errors import InputError
from salmu_jax.results.schema import found
from salmu_jax.runtime import places
from salmu_jax.runtime.places import Place

MOST_BYTES = 200 * 10**6
_MOST_DIGITS = 18  # numpy holds them as int64
_MOST_DEEP = 50
# Neither a terminal nor UTF-8 shows these.
_UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class _Broken(NamedTuple):
  """In a parsed file, a placeholder for a value that a results file must not hold."""

  found: str
  right: str


def read(path: Place, *, missing: bool = False) -> Any:
  """The content of a results file.

  Args:
    path: of the file.
    missing: whether a number that is not finite becomes None, like a missing one.

  Returns:
    The value of json.loads, with placeholders, which `unfit` finds, for duplicate names, for
    numbers that are too long and, unless `missing`, for numbers that are not finite.

  Raises:
    InputError: the file is missing, too large, unreadable or not JSON.
  """
  infinite = (lambda name: None) if missing else (lambda name: _Broken(name, "a finite number"))
  try:
    if not path.is_file():
      raise InputError(f"{path}: no such file; name a results file, as in WORKDIR/results.")
    size = places.size(path)
    if size > MOST_BYTES:
      raise InputError(
        f"{path} has {size:,} bytes; a results file has at most {MOST_BYTES:,}. It was not read."
      )
    return json.loads(
      path.read_bytes().decode("utf-8"),
      object_pairs_hook=_object,
      parse_int=_whole,
      parse_float=lambda digits: _finite(digits, infinite),
      parse_constant=infinite,
    )
  except OSError as error:
    raise InputError(f"{path} cannot be read ({error.strerror}). Make it readable.") from error
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise InputError(f"{path} is not valid JSON ({error}). Restore it from its source.") from error
  except RecursionError as error:
    raise InputError(f"{path} is nested too deep; at most {_MOST_DEEP} levels.") from error


def _object(pairs):
  seen = collections.Counter(name for name, _ in pairs)
  twice = {name: _Broken("given twice", "given once") for name in seen if seen[name] > 1}
  return {**dict(pairs), **twice}


def _whole(digits):
  if len(digits) > _MOST_DIGITS:
    return _Broken(f"a number of {len(digits)} digits", f"an integer of up to {_MOST_DIGITS}")
  return int(digits)


def _finite(digits, infinite):
  value = float(digits)
  return value if math.isfinite(value) else infinite(digits[:20])


def unfit(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, str]]:
  """(path, words) of what a results file must not hold: invalid JSON, text that cannot be shown."""
  if isinstance(value, _Broken):
    yield path, f"{value.found}; should be {value.right}"
  elif isinstance(value, str) and _UNSHOWN.search(value):
    yield path, f"{found(value)}; should have no control characters and no lone surrogates"
  elif isinstance(value, dict | list) and len(path) == _MOST_DEEP:
    yield path, f"nested too deep; should be at most {_MOST_DEEP} levels"
  elif isinstance(value, dict):
    for key, item in value.items():
      if _UNSHOWN.search(key):
        yield (*path, key), "a name with control characters; should have none"
      yield from unfit(item, (*path, key))
  elif isinstance(value, list):
    for at, item in enumerate(value):
      yield from unfit(item, (*path, at))
