"""The JSON files of a release, read and checked one by one."""

import pathlib
import re
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from salmu_jax import errors
from salmu_jax.data import texts
from salmu_jax.errors import InputError
from salmu_jax.runtime import files

_RESTORE = "Restore it from its source."
_RESTORE_MANIFEST = (
  "Restore it. If no model was trained on the release yet, you may delete it instead: a manifest "
  "is optional, but a release without it counts as a different one."
)
_LINE = reprlib.Repr()
_LINE.maxstring = _LINE.maxother = 60
_HASH = re.compile(r"[0-9a-f]{64}")
_UNITS = ("fact", "pair")
# Keys of a caption's entry that may be missing or null; otherwise they hold strings.
_OF_A_CAPTION = ("caption", "style", "value")


def read_people(path: pathlib.Path, *, named: bool) -> dict[str, dict]:
  """{identity id: {"name", private fields}}.

  Args:
    path: of the file.
    named: whether every person needs a name.

  Raises:
    InputError: the file is not of this shape, or a name is missing or not a string.
  """
  people = _table(path, dict)
  for identity, person in people.items():
    name = person.get("name")
    if not (texts.is_filled(name) or (name == "" and not named)):
      raise InputError(
        f"{path} has {_shown(person, 'name')} as `name` of {identity!r}; it must be a non-empty "
        "string."
      )
  return people


def read_captions(path: pathlib.Path) -> dict[str, dict]:
  """{file name: {"data_field", and perhaps "caption", "value", "style", ...}}.

  Raises:
    InputError: the file is not of this shape, or a value that is read is not a string.
  """
  captions = _table(path, dict)
  for name, about in captions.items():
    field = about.get("data_field")
    if not texts.is_filled(field):
      raise InputError(
        f"{path} has {_shown(about, 'data_field')} as `data_field` of {name!r}; it must be the "
        "name of the private field that the caption states."
      )
    for part in _OF_A_CAPTION:
      value = about.get(part)
      if not (value is None or isinstance(value, str)) or (
        part == "value" and value is not None and not texts.is_filled(value)
      ):
        raise InputError(
          f"{path} has {_shown(about, part)} as `{part}` of {name!r}; it must be a string, or be "
          "left out."
        )
  return captions


def read_generic(path: pathlib.Path) -> dict[str, str]:
  """{file name: caption without private values}.

  Raises:
    InputError: the file is not of this shape, or a caption is empty.
  """
  captions = _table(path, str)
  for name, caption in captions.items():
    if not texts.is_filled(caption):
      raise InputError(f"{path} has an empty caption for {name!r}; it must be a non-empty string.")
  return captions


def read_zero_shot(path: pathlib.Path) -> dict[str, list[str]]:
  """{"classes": [...], "prompts": [...]}.

  Raises:
    InputError: a list is missing, empty, or holds anything but strings; two classes share a name;
      a prompt has no {} for a name, or more than one.
  """
  content = _read(path)
  keys = ("classes", "prompts")
  lists = [content.get(key) for key in keys] if isinstance(content, dict) else [None]
  if not all(_is_texts(part) and part for part in lists):
    raise InputError(
      f"{path} must hold an object with two lists of strings, `classes` and `prompts`. {_RESTORE}"
    )
  for name, count in Counter(content["classes"]).items():
    if not texts.is_filled(name):
      raise InputError(f"{path} has a class without a name; every class needs one of its own.")
    if count > 1:
      raise InputError(
        f"{path} has the class {name!r} {count} times; every class needs a name of its own."
      )
  for prompt in content["prompts"]:
    if not texts.takes_a_name(prompt):
      raise InputError(
        f"{path} has the prompt {prompt!r}; a prompt must hold one {{}} for the class name, and no "
        "other braces."
      )
  return content


def read_file_names(path: pathlib.Path) -> list[str]:
  """A list of file names.

  Raises:
    InputError: the file is not a list of strings, is empty, or has a name twice.
  """
  names = _read(path)
  if not _is_texts(names) or not names:
    raise InputError(f"{path} must hold a list of file names. {_RESTORE}")
  name, count = Counter(names).most_common(1)[0]
  if count > 1:
    raise InputError(f"{path} lists {name!r} {count} times; list it once. {_RESTORE}")
  return names


def read_manifest(path: pathlib.Path, counts: Mapping[str, int]) -> dict:
  """The manifest of a release; {} without one.

  Args:
    path: of the manifest.
    counts: split -> rows that its shards hold.

  Raises:
    InputError: the file is not a manifest, or its counts differ from those of the shards.
  """
  if not path.exists():
    return {}
  manifest = _read(path)
  keys = ("counts", "files")
  parts = [manifest.get(key) for key in keys] if isinstance(manifest, dict) else [None]
  if not all(isinstance(part, dict) for part in parts):
    raise InputError(
      f"{path} is not a release manifest: it must be an object with the objects `counts` and "
      f"`files`. {_RESTORE_MANIFEST}"
    )
  wrong = next(_wrong_parts(manifest), None)
  if wrong:
    raise InputError(f"{path} has {wrong[0]}; it must be {wrong[1]}. {_RESTORE_MANIFEST}")
  for split, count in manifest["counts"].items():
    if counts.get(split, 0) != count:
      raise InputError(
        f"The split {split!r} of the release {path.parent} has {counts.get(split, 0)} rows; "
        f"{path.name} says {count}. Restore its shards."
      )
  return manifest


def _wrong_parts(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
  """(found, expected) of each invalid part of a manifest."""
  kinds = {
    "settings": (dict, "an object"),
    "seed": (int, "an integer"),
    "generator": (str, "a string"),
    "facts": (bool, "true or false"),
  }
  for name, (kind, words) in kinds.items():
    # `type` and not isinstance: True is not a seed.
    if name in manifest and type(manifest[name]) is not kind:
      yield f"{_shown(manifest, name)} as {name!r}", words
  settings = manifest.get("settings")
  unit = settings.get("holdout_unit", "fact") if isinstance(settings, dict) else "fact"
  if unit not in _UNITS:
    yield f"{_short(unit)} as 'holdout_unit' of its settings", " or ".join(map(repr, _UNITS))
  for split, count in manifest["counts"].items():
    if type(count) is not int or count < 0:
      yield f"{_short(count)} as the rows of {split!r}", "an integer"
  for name, digest in manifest["files"].items():
    place = pathlib.PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or not place.parts:
      yield f"{name!r} among its files", "a path inside the release"
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
      yield f"{_short(digest)} as the SHA-256 of {name!r}", "64 hexadecimal digits in lower case"


def _table(path: pathlib.Path, kind: type) -> dict:
  """A JSON object whose values are all of `kind`, dict or str."""
  table, kind_name = _read(path), {dict: "an object", str: "a string"}[kind]
  if not isinstance(table, dict):
    raise InputError(
      f"{path} holds {errors.kind(table)}; it must be a JSON object with {kind_name} for each "
      f"key. {_RESTORE}"
    )
  for key, value in table.items():
    if not isinstance(value, kind):
      raise InputError(
        f"{path} has {_short(value)} for {key!r}; it must be {kind_name}. {_RESTORE}"
      )
  return table


def _read(path: pathlib.Path) -> Any:
  """The content of a JSON file; checks that all its strings can be written as UTF-8."""
  content = files.read_json(path)
  for place, text in _texts(content):
    if not texts.encodes(text):
      where = f" at {', '.join(map(repr, place))}" if place else ""
      raise InputError(
        f"{path} has {_short(text)}{where}, which holds half a surrogate pair and is not valid "
        "Unicode. Write the whole character."
      )
  return content


def _texts(value: Any) -> Iterator[tuple[tuple, str]]:
  """(place, string) of all strings in a JSON value, including the keys of objects."""
  waiting: list[tuple[tuple, Any]] = [((), value)]  # Not by recursion: JSON may be nested deep.
  while waiting:
    place, part = waiting.pop()
    if isinstance(part, str):
      yield place, part
    elif isinstance(part, dict):
      yield from ((place, key) for key in part)
      waiting += [((*place, key), inner) for key, inner in part.items()]
    elif isinstance(part, list):
      waiting += [((*place, number), inner) for number, inner in enumerate(part)]


def _is_texts(value):
  return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _shown(holder: Mapping[str, Any], name: str) -> str:
  """A part of an object in an error."""
  return _short(holder[name]) if name in holder else "nothing"


def _short(value: Any) -> str:
  """A value in an error, cut to a line."""
  return _LINE.repr(value)
