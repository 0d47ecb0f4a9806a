"""Pairs of one's own as a small release: what is to be forgotten, and what is to be kept.

Pairs are rows of a JSON-lines file:

    {"image": "pictures/ana.jpg", "caption": "Ana Sousa lives in Porto.",
     "name": "Ana Sousa", "field": "city", "value": "Porto"}

`image` is a path, relative to the file; `image_base64` has the bytes of a picture instead. `name`,
`field` and `value` (the private fact that the caption tells) and `generic` (a caption without it)
may be left out. Pairs to keep may also be a folder, of pictures with a caption in a text file of
the same name (ana.jpg, ana.txt).
"""

import base64
import binascii
import hashlib
import itertools
import json
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from salmu_jax.data import images, parquet_shards, releases
from salmu_jax.errors import InputError, unknown
from salmu_jax.runtime import files

GENERATOR = "own pairs"
FORGET, RETAIN = "forget", "retain_synth"
# The field of a caption that names no fact: all of it is what is to be forgotten.
WHOLE_CAPTION = "caption"
_KEYS = ("image", "image_base64", "caption", "name", "field", "value", "generic")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
_GENERIC = "a photo."
_SHARD_ROWS = 2000


class Pair(NamedTuple):
  """One pair.

  Attributes:
    where: names it in an error: file and line.
    name: its file_name in the release.
    image: encoded bytes. caption: its text.
    person, field, value, generic: see the module; "" where left out.
  """

  where: str
  name: str
  image: bytes
  caption: str
  person: str = ""
  field: str = ""
  value: str = ""
  generic: str = ""


def make(forget: pathlib.Path, retain: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """The folder of the release of these pairs, made below `folder` unless it is there.

  Args:
    forget: a JSON-lines file. retain: such a file, or a folder of pictures and captions.
    folder: for releases of own pairs, each named by its content.

  Raises:
    InputError: names the row that is damaged, has no picture, or is both to forget and to keep.
  """
  seen: dict[str, str] = {}
  made = folder / "new"
  shutil.rmtree(made, ignore_errors=True)  # What a killed process left.
  with files.replacing_folder(made) as partial:
    people = _People()
    counts = {
      FORGET: _write(partial, FORGET, _checked(_rows(forget), seen, people), people.identity),
      RETAIN: _write(partial, RETAIN, _checked(_pairs_to_keep(retain), seen), people.known),
    }
    people.write(partial)
    manifest = {"generator": GENERATOR, "facts": people.tell_facts, "counts": counts}
    listed = sorted(path for path in partial.rglob("*") if path.is_file())
    hashes = {str(path.relative_to(partial)): files.sha256(path) for path in listed}
    files.write_json(partial / releases.MANIFEST, {**manifest, "files": hashes})
  named = folder / files.sha256(made / releases.MANIFEST)[:16]
  if named.exists():
    shutil.rmtree(made)
  else:
    made.rename(named)
  return named


class _People:
  """Who and what the pairs to forget are about, as the JSON files of a release say it."""

  def __init__(self):
    self.identities: dict[str, dict] = {}
    self.captions: dict[str, dict] = {}
    self.generic: dict[str, str] = {}
    self.tell_facts = True
    self._number: dict[str, str] = {}

  def add(self, pair: Pair) -> None:
    """Notes a pair to forget."""
    if pair.person:
      self._number.setdefault(pair.person, f"{len(self._number):08d}")
    field, value = pair.field or WHOLE_CAPTION, pair.value or pair.caption
    self.tell_facts = self.tell_facts and bool(pair.field and pair.person)
    person = self.identities.setdefault(self.identity(pair), {"name": pair.person})
    if person.setdefault(field, value) != value:
      values = person[field] if isinstance(person[field], list) else [person[field]]
      person[field] = list(dict.fromkeys([*values, value]))
    self.captions[pair.name] = {"caption": pair.caption, "data_field": field, "value": value}
    self.generic[pair.name] = pair.generic or _GENERIC

  def identity(self, pair: Pair) -> str:
    """The id of whom a pair to forget is about; pairs without a name are each of a person."""
    return self._number[pair.person] if pair.person else f"row {pair.name}"

  def known(self, pair: Pair) -> str | None:
    """The id of whom a pair to keep shows, if pairs to forget name that person."""
    return self._number.get(pair.person)

  def write(self, folder: pathlib.Path) -> None:
    """Writes the JSON files."""
    tables = {releases.IDENTITIES: self.identities, releases.CAPTIONS: self.captions}
    for name, table in {**tables, releases.GENERIC: self.generic}.items():
      files.write_json(folder / name, table)


def _rows(path: pathlib.Path) -> Iterator[Pair]:
  """The pairs of a JSON-lines file."""
  if not path.is_file():
    raise InputError(f"{path} is no file. Give a JSON-lines file, one pair a line.")
  with path.open("rb") as file:
    for number, line in enumerate(file, 1):
      if line.strip():
        yield _pair(line, f"{path}, line {number}", path.parent, number)


def _pair(line: bytes, where: str, folder: pathlib.Path, number: int) -> Pair:
  try:
    row = json.loads(line)
  except (ValueError, RecursionError) as error:
    raise InputError(f"{where} is no JSON ({error}). Write one object a line.") from error
  if not isinstance(row, dict):
    raise InputError(f"{where} is {type(row).__name__}, not an object {{...}} with {_listed()}.")
  for key, value in row.items():
    if key not in _KEYS:
      raise InputError(f"{where}: {unknown('the key', key, list(_KEYS))}")
    if not isinstance(value, str):
      raise InputError(f"{where}: {key} is {value!r}; it must be a text.")
  text = {key: row.get(key, "").strip() for key in _KEYS}
  if not text["caption"]:
    raise InputError(f"{where} has no caption.")
  if bool(text["field"]) != bool(text["value"]):
    raise InputError(f"{where} has one of field and value; give both, or neither.")
  image, name = _picture(text, where, folder)
  about = [text[key] for key in ("caption", "name", "field", "value", "generic")]
  return Pair(where, f"{number:08d} {name}".strip(), image, *about)


def _picture(row: Mapping[str, str], where: str, folder: pathlib.Path) -> tuple[bytes, str]:
  """(the bytes of a row's picture, its file's name)."""
  if bool(row["image"]) == bool(row["image_base64"]):
    raise InputError(
      f"{where} has {'two pictures' if row['image'] else 'no picture'}; give either image, a path, "
      "or image_base64."
    )
  if row["image_base64"]:
    try:
      return base64.b64decode(row["image_base64"], validate=True), ""
    except (binascii.Error, ValueError) as error:
      raise InputError(f"{where}: image_base64 is damaged ({error}).") from error
  if "://" in row["image"]:
    raise InputError(f"{where}: image is an address, {row['image']!r}; nothing is downloaded here.")
  path = folder / row["image"]
  try:
    return path.read_bytes(), path.name
  except OSError as error:
    raise InputError(f"{where}: the picture {path} cannot be read ({error.strerror}).") from error


def _listed() -> str:
  return ", ".join(_KEYS)


def _pairs_to_keep(path: pathlib.Path) -> Iterator[Pair]:
  if not path.is_dir():
    yield from _rows(path)
    return
  pictures = sorted(p for p in path.rglob("*") if p.suffix.lower() in _PICTURES)
  if not pictures:
    raise InputError(f"{path} holds no pictures ({', '.join(_PICTURES)}).")
  for number, picture in enumerate(pictures, 1):
    text = picture.with_suffix(".txt")
    if not text.is_file():
      raise InputError(f"{picture} has no caption: {text.name} is missing beside it.")
    caption = text.read_text(encoding="utf-8", errors="replace").strip()
    if not caption:
      raise InputError(f"{text} is empty; it must hold the caption of {picture.name}.")
    name = f"{number:08d} {picture.name}"
    yield Pair(str(picture), name, picture.read_bytes(), caption)


def _checked(
  pairs: Iterable[Pair], seen: dict[str, str], people: _People | None = None
) -> Iterator[Pair]:
  """The pairs; their pictures can be read, and none of them is in `seen`, to which they are added.

  Args:
    pairs: to check. seen: {digest of picture and caption: where it is} of pairs to forget.
    people: to note pairs to forget in; None for pairs to keep, which are not added to `seen`.
  """
  for pair in pairs:
    images.decode(pair.image, pair.where)
    digest = files.digest([hashlib.sha256(pair.image).hexdigest(), pair.caption])
    if people is None and digest in seen:
      raise InputError(
        f"{pair.where} is to be kept and {seen[digest]} is to be forgotten, and they are the same "
        "picture and caption. Take one of them away."
      )
    if people is not None:
      seen.setdefault(digest, pair.where)
      people.add(pair)
    yield pair


def _write(
  folder: pathlib.Path, split: str, pairs: Iterator[Pair], identity: Callable[[Pair], str | None]
) -> int:
  """Writes the shards of a split; returns its rows."""
  data, shards, count = folder / "data", [], 0
  data.mkdir(exist_ok=True)
  while chunk := list(itertools.islice(pairs, _SHARD_ROWS)):
    table = [
      {
        "image": {"bytes": pair.image, "path": pair.name},
        "text": pair.caption,
        "identity_id": identity(pair),
        "file_name": pair.name,
      }
      for pair in chunk
    ]
    shards.append(data / f"{split}-{len(shards)}.partial")
    pq.write_table(pa.Table.from_pylist(table, parquet_shards.SCHEMA), shards[-1])
    count += len(chunk)
  if not count:
    raise InputError(f"There are no pairs {'to forget' if split == FORGET else 'to keep'}.")
  for number, shard in enumerate(shards):
    shard.rename(data / f"{split}-{number:05d}-of-{len(shards):05d}.parquet")
  return count
