"""Random replacements of a value, a JSON file or the bytes of a file."""

import copy
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from ml_collections import ConfigDict

# Texts of any characters, including lone surrogates and control characters.
TEXTS = st.one_of(
  st.text(max_size=12),
  st.text(st.characters(), max_size=6),
  st.sampled_from(
    (
      "",
      " ",
      "\0",
      "\ud800",
      "{}",
      "{name}",
      "{:>99}",
      "{",
      "[/bold]",
      "../x",
      "/",
      "=1+1",
      "<script>",
      "nan",
      "-1",
      "1e400",
      "a" * 5000,
    )
  ),
)
NUMBERS = st.one_of(
  st.integers(),
  st.integers(-3, 3),
  st.floats(),
  st.sampled_from((10**400, -(10**400), 2**31, 2**63, 10**18, 1e300, 5e-324, -0.0)),
)
JSON = st.recursive(
  st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
  lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
  max_leaves=5,
)
# A config can also hold these.
PYTHON = st.one_of(
  JSON,
  st.tuples(JSON),
  st.binary(max_size=4),
  st.builds(ConfigDict),
  st.sampled_from((1j, frozenset(), object)),
)


def paths(value: Any, path: tuple = ()) -> list[tuple]:
  """The path of every part of a JSON value, starting with the value itself."""
  if not isinstance(value, dict | list):
    return [path]
  children = value.items() if isinstance(value, dict) else enumerate(value)
  return [path, *(p for key, child in children for p in paths(child, (*path, key)))]


def replaced(value: Any, path: tuple, change: Callable[[Any], Any]) -> Any:
  """A copy of a JSON value with the part at a path replaced."""
  if not path:
    return change(value)
  value = copy.deepcopy(value)
  parent = value
  for key in path[:-1]:
    parent = parent[key]
  parent[path[-1]] = change(parent[path[-1]])
  return value


def without(value: Any, path: tuple) -> Any:
  """A copy of a JSON value without the part at a path; None if that is the value itself."""
  if not path:
    return None
  value = copy.deepcopy(value)
  parent = value
  for key in path[:-1]:
    parent = parent[key]
  del parent[path[-1]]
  return value


@st.composite
def changed_json(draw: st.DrawFn, value: Any) -> bytes:
  """A JSON file with one part replaced or missing, or damaged in its bytes."""
  path = draw(st.sampled_from(paths(value)))
  kind = draw(st.sampled_from(("replaced", "replaced", "replaced", "missing", "damaged")))
  if kind == "damaged":
    return draw(damaged(json.dumps(value).encode()))
  if kind == "missing":
    return json.dumps(without(value, path)).encode()
  part = draw(JSON)
  return json.dumps(replaced(value, path, lambda old: part)).encode()


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
  """A file that is cut, has a bit flipped, is partly zeroed, has bytes inserted, or is replaced."""
  at = draw(st.integers(0, max(len(content) - 1, 0)))
  kind = draw(st.sampled_from(("cut", "flip", "zeros", "insert", "other")))
  if kind == "cut":
    return content[:at]
  if kind == "flip" and content:
    bit = 1 << draw(st.integers(0, 7))
    return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
  if kind == "zeros":
    length = draw(st.integers(1, 64))
    return content[:at] + bytes(length) + content[at + length :]
  if kind == "insert":
    return content[:at] + draw(st.binary(min_size=1, max_size=8)) + content[at:]
  other = (b"", b"\0" * 64, b"null", b"[" * 100_000, b"9" * 5000, b"\xff\xfe{}", b"\xef\xbb\xbf{}")
  return draw(st.sampled_from(other))
