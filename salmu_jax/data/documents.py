"""The JSON files of a release, read and checked one by one."""

import pathlib
from collections.abc import Mapping

from salmu_jax.errors import InputError
from salmu_jax.runtime import files


def read_table(path: pathlib.Path, kind: type) -> dict:
  """A JSON object whose values are all of `kind`, dict or str.

  Raises:
    InputError: it is no object, or a value is of another type.
  """
  table, kind_name = files.read_json(path), {dict: "an object", str: "a text"}[kind]
  if not isinstance(table, dict):
    raise InputError(
      f"{path} holds a {type(table).__name__}; it must be a JSON object with {kind_name} for each "
      "key. Restore it from its source."
    )
  for key, value in table.items():
    if not isinstance(value, kind):
      raise InputError(
        f"{path} has {value!r} for {key!r}; it must be {kind_name}. Restore it from its source."
      )
  return table


def read_zero_shot(path: pathlib.Path) -> dict[str, list[str]]:
  """{"classes": [...], "prompts": [...]}.

  Raises:
    InputError: a list is missing, empty, or holds anything but texts.
  """
  content = files.read_json(path)
  keys = ("classes", "prompts")
  lists = [content.get(key) for key in keys] if isinstance(content, dict) else [None]
  if not all(_is_texts(texts) and texts for texts in lists):
    raise InputError(
      f"{path} must hold an object with two lists of texts, `classes` and `prompts`. Restore it "
      "from its source."
    )
  return content


def read_file_names(path: pathlib.Path) -> list[str]:
  """A list of file names.

  Raises:
    InputError: it is no list of texts.
  """
  names = files.read_json(path)
  if not _is_texts(names):
    raise InputError(f"{path} must hold a list of file names. Restore it from its source.")
  return names


def read_manifest(path: pathlib.Path, counts: Mapping[str, int]) -> dict:
  """The manifest of a release; {} without one.

  Args:
    path: of the manifest.
    counts: split -> rows that its shards hold.

  Raises:
    InputError: it is no manifest, or its counts differ from those of the shards.
  """
  if not path.exists():
    return {}
  manifest = files.read_json(path)
  keys = ("counts", "files")
  parts = [manifest.get(key) for key in keys] if isinstance(manifest, dict) else [None]
  if not all(isinstance(part, dict) for part in parts):
    raise InputError(
      f"{path} is no manifest of a release: it must be an object with the objects `counts` and "
      "`files`. Restore it, or delete it: a release needs no manifest."
    )
  for split, count in manifest["counts"].items():
    if counts.get(split) != count:
      raise InputError(
        f"The split {split!r} of the release {path.parent} has {counts.get(split, 0)} rows; "
        f"{path.name} says {count}. Restore its shards."
      )
  return manifest


def _is_texts(value):
  return isinstance(value, list) and all(isinstance(text, str) for text in value)
