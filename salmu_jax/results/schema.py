"""A results file read strictly, and held against results.schema.json."""

import collections
import json
import math
import pathlib
import re
from typing import NamedTuple

import jsonschema

from salmu_jax.errors import InputError
from salmu_jax.runtime import files

SCHEMA = files.read_json(pathlib.Path(__file__).with_name("results.schema.json"))
MOST_BYTES = 200 * 10**6
_MOST_DIGITS = 18  # numpy holds them as int64
_MOST_DEEP = 50
# Neither a terminal nor UTF-8 shows these.
_UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


class _Broken(NamedTuple):
  """Stands in a parsed file for what is no value of a results file."""

  found: str
  right: str


def read(path):
  """The content of a results file.

  Args:
    path: pathlib.Path of the file.

  Returns:
    What json.loads does; but a name that is there twice, and a number that is not finite or too
    long, has a value of a type of its own, which `unfit` finds.

  Raises:
    InputError: the file is missing, too large, unreadable or no JSON.
  """
  try:
    if not path.is_file():
      raise InputError(f"{path}: no such file; name a results file, as in WORKDIR/results.")
    size = path.stat().st_size
    if size > MOST_BYTES:
      raise InputError(
        f"{path}: has {size:,} bytes; a results file has at most {MOST_BYTES:,}. It was not read."
      )
    return json.loads(
      path.read_bytes().decode("utf-8"),
      object_pairs_hook=_object,
      parse_int=_whole,
      parse_float=_finite,
      parse_constant=lambda name: _Broken(name, "a finite number"),
    )
  except OSError as error:
    raise InputError(f"{path}: cannot be read ({error.strerror}); make it readable.") from error
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise InputError(f"{path}: is not valid JSON ({error}); restore it from its source.") from error
  except RecursionError as error:
    raise InputError(f"{path}: is nested too deep; at most {_MOST_DEEP} levels.") from error


def _object(pairs):
  seen = collections.Counter(name for name, _ in pairs)
  twice = {name: _Broken("there twice", "there once") for name in seen if seen[name] > 1}
  return {**dict(pairs), **twice}


def _whole(digits):
  if len(digits) > _MOST_DIGITS:
    return _Broken(f"a number of {len(digits)} digits", f"an integer of up to {_MOST_DIGITS}")
  return int(digits)


def _finite(digits):
  value = float(digits)
  return value if math.isfinite(value) else _Broken(digits[:20], "a finite number")


def unfit(value, path=()):
  """(path, words) of what no results file holds: what is no JSON, and what cannot be shown."""
  if isinstance(value, _Broken):
    yield path, f"{value.found}; should be {value.right}"
  elif isinstance(value, str) and _UNSHOWN.search(value):
    yield path, f"{found(value)}; should have no control characters and no half of a character"
  elif isinstance(value, dict | list) and len(path) == _MOST_DEEP:
    yield path, f"nested deeper; should be at most {_MOST_DEEP} levels"
  elif isinstance(value, dict):
    for key, each in value.items():
      if _UNSHOWN.search(key):
        yield (*path, key), "a name with control characters; should have none"
      yield from unfit(each, (*path, key))
  elif isinstance(value, list):
    for at, each in enumerate(value):
      yield from unfit(each, (*path, at))


def invalid(result):
  """(path, words) of what is not as the schema says."""
  for error in _VALIDATOR.iter_errors(result):
    path = tuple(error.absolute_path)
    if error.validator == "required":
      for name in error.validator_value:
        if name not in error.instance:
          yield (*path, name), f"missing; should be {_described((*path, name))}"
    elif error.validator == "additionalProperties":
      for name in sorted(error.instance.keys() - error.schema["properties"].keys()):
        yield (*path, name), "unknown; should be left out"
    else:
      limit = (
        "" if error.validator == "pattern" else f" ({error.validator}: {error.validator_value})"
      )
      yield path, f"{found(error.instance)}; should be {_described(path)}{limit}"


def _described(path):
  """What the schema says of the value at a path."""
  nodes = list(_nodes(SCHEMA))
  for key in path:
    inner = [_inside(node, key) for node in nodes]
    nodes = [each for node in inner if isinstance(node, dict) for each in _nodes(node)]
  return [node["description"] for node in nodes if "description" in node][-1]


def _nodes(node):
  """The parts of a schema that hold for the same value, what says most of it last."""
  if "$ref" in node:
    yield from _nodes(SCHEMA["$defs"][node["$ref"].rpartition("/")[2]])
  yield node
  if "else" in node:
    yield node["else"]


def _inside(node, key):
  if isinstance(key, int):
    return node.get("items")
  return node.get("properties", {}).get(key, node.get("additionalProperties"))


def found(value):
  """A value as what was found."""
  return f"found {short(value)}"


def short(value):
  """A value in one line of a message."""
  if isinstance(value, dict):
    return "an object"
  if isinstance(value, list):
    return f"a list of {len(value)}"
  text = "null" if value is None else repr(value)
  return text if len(text) <= 80 else f"{text[:77]}..."


def dotted(path):
  """A path as text; names in it are a stranger's."""
  shown = (
    f"[{key}]" if isinstance(key, int) else f".{key if key.isprintable() else ascii(key)}"
    for key in path
  )
  return "".join(shown).removeprefix(".") or "the file"
