"""Reads and checks the rows of own pairs; errors name their file and line.

`salmu_jax.data.own` describes a row.
"""

import base64
import binascii
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from salmu_jax.data import texts
from salmu_jax.errors import InputError, unknown

# The field of a pair without a fact: the whole caption is to be forgotten.
WHOLE_CAPTION = "caption"
KEYS = ("image", "image_base64", "caption", "name", "person", "field", "value", "generic")
_OF_PICTURES = KEYS[:2]
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


class Pair(NamedTuple):
  """One pair.

  Attributes:
    where: names it in an error: file and line.
    name: its file_name in the release.
    image: encoded bytes. caption: its text.
    person: an id, or else the name. known_as, field, value, generic: see `own`; "" where left out.
  """

  where: str
  name: str
  image: bytes
  caption: str
  known_as: str = ""
  person: str = ""
  field: str = ""
  value: str = ""
  generic: str = ""


def read(path: pathlib.Path) -> Iterator[Pair]:
  """The pairs of a JSON-lines file."""
  if not os.path.isfile(path):
    raise InputError(f"{path} is not a file. Give a JSON-lines file with one pair per line.")
  for number, line in enumerate(lines(path), 1):
    if line.strip():
      yield _pair(line, f"{path}, line {number}", path.parent, number)


def lines(path: pathlib.Path) -> Iterator[bytes]:
  """The lines of a file."""
  try:
    with path.open("rb") as file:
      yield from file
  except OSError as error:
    raise InputError(f"{path} cannot be read ({error.strerror}).") from error


def parse(line: bytes, where: str) -> dict:
  """The JSON object of a line."""
  try:
    row = json.loads(line, object_pairs_hook=_without_repeats)
  except (ValueError, RecursionError) as error:
    raise InputError(f"{where} is not JSON ({error}). Write one object per line.") from error
  if not isinstance(row, dict):
    raise InputError(
      f"{where} is {type(row).__name__}, not an object {{...}} with {', '.join(KEYS)}."
    )
  return row


def _without_repeats(pairs: list[tuple]) -> dict:
  names = [name for name, _ in pairs]
  for name in names:
    if names.count(name) > 1:
      raise ValueError(f"the key {name!r} occurs {names.count(name)} times")
  return dict(pairs)


def _pair(line: bytes, where: str, folder: pathlib.Path, number: int) -> Pair:
  row = parse(line, where)
  for key, value in row.items():
    _check_text(where, key, value)
  text = {key: row.get(key, "").strip() for key in KEYS}
  if not text["caption"]:
    raise InputError(f"{where} has no caption.")
  if bool(text["field"]) != bool(text["value"]):
    raise InputError(f"{where} has only one of field and value; give both, or neither.")
  if text["field"] in ("name", WHOLE_CAPTION):
    raise InputError(f"{where}: field is {text['field']!r}, a reserved name; rename it.")
  image, name = _picture(text, where, folder)
  about = [text[key] for key in ("caption", "name")]
  about += [text["person"] or text["name"], *(text[key] for key in ("field", "value", "generic"))]
  return Pair(where, f"{number:08d} {name}".strip(), image, *about)


def _check_text(where, key, value):
  """Raises InputError unless a key is known, and its value a string of valid Unicode."""
  if key not in KEYS:
    raise InputError(f"{where}: {unknown('the key', key, list(KEYS))}")
  if not isinstance(value, str):
    raise InputError(f"{where}: {key} is {value!r}; it must be a string.")
  if not texts.encodes(value):
    raise InputError(f"{where}: {key} has half a surrogate pair, {value!r}; write UTF-8.")
  if key not in _OF_PICTURES and value.strip() and not texts.is_filled(value):
    raise InputError(
      f"{where}: {key} is {value!r}, which has no visible characters. Write words, or leave it out."
    )


def _picture(row: Mapping[str, str], where: str, folder: pathlib.Path) -> tuple[bytes, str]:
  """(the bytes of a row's picture, its file's name)."""
  if bool(row["image"]) == bool(row["image_base64"]):
    raise InputError(
      f"{where} has {'two images' if row['image'] else 'no image'}; give either image, a path, "
      "or image_base64."
    )
  if row["image_base64"]:
    try:
      return base64.b64decode(row["image_base64"], validate=True), ""
    except (binascii.Error, ValueError) as error:
      raise InputError(f"{where}: image_base64 is damaged ({error}).") from error
  if "://" in row["image"]:
    raise InputError(f"{where}: image is a URL, {row['image']!r}; give a path to a local file.")
  path = folder / row["image"]
  return _content(path, f"{where}: the image {path}"), path.name


def _content(path: pathlib.Path, what: str) -> bytes:
  try:
    # A pipe or a device would be read without end.
    if path.exists() and not path.is_file():
      kind = "a folder" if path.is_dir() else "a pipe or a device"
      raise InputError(f"{what} cannot be read (it is {kind}).")
    return path.read_bytes()
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    raise InputError(f"{what} cannot be read ({reason}).") from error


def read_to_keep(path: pathlib.Path) -> Iterator[Pair]:
  """The pairs of a JSON-lines file, or of a folder of images and captions."""
  if not os.path.isdir(path):
    yield from read(path)
    return
  named = sorted(other for other in path.rglob("*") if not other.is_dir())
  pictures = [other for other in named if other.suffix.lower() in _PICTURES]
  captions = {picture.with_suffix(".txt") for picture in pictures}
  alone = [other for other in named if other.suffix == ".txt" and other not in captions]
  if alone:
    raise InputError(f"{alone[0]} has no image of the same name ({', '.join(_PICTURES)}).")
  if not pictures:
    raise InputError(f"{path} holds no images ({', '.join(_PICTURES)}).")
  for number, picture in enumerate(pictures, 1):
    if not texts.encodes(picture.name):
      raise InputError(f"The file name {str(picture)!r} is not UTF-8. Rename it, and its caption.")
    name = f"{number:08d} {picture.name}"
    caption = _caption_beside(picture)
    yield Pair(str(picture), name, _content(picture, str(picture)), caption)


def _caption_beside(picture: pathlib.Path) -> str:
  text = picture.with_suffix(".txt")
  if not text.is_file():
    raise InputError(f"{picture} has no caption: {text.name} is missing.")
  try:
    caption = _content(text, str(text)).decode("utf-8-sig").strip()
  except UnicodeDecodeError as error:
    raise InputError(f"{text} is not UTF-8 ({error}).") from error
  if not texts.is_filled(caption):
    raise InputError(
      f"{text} has no visible characters ({caption!r:.60}); it must hold the caption of "
      f"{picture.name}."
    )
  return caption
