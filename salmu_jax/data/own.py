"""Pairs of one's own as a small release: what is to be forgotten, and what is to be kept.

Pairs are rows of a JSON-lines file:

    {"image": "pictures/ana.jpg", "caption": "Ana Sousa lives in Porto.",
     "name": "Ana Sousa", "field": "city", "value": "Porto"}

`image` is a path, relative to the file; `image_base64` has the bytes of a picture instead. `name`,
`field` and `value` (the private fact that the caption tells) may be left out, and so may `person`
(an id, for people who share a name) and `generic` (a caption without the fact; "a photo." stands
for it). Of a pair to keep, `name` or `person` says whom it shows; the others are not read. Pairs to
keep may also be a folder, of pictures with a caption in a text file of the same name (ana.jpg,
ana.txt).
"""

import base64
import binascii
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from salmu_jax.data import images, parquet_shards, releases, texts
from salmu_jax.errors import InputError, unknown
from salmu_jax.runtime import files, kept, progress

GENERATOR = "own pairs"
FORGET, RETAIN = "forget", "retain_synth"
# The field of a caption that names no fact: all of it is what is to be forgotten.
WHOLE_CAPTION = "caption"
_KEYS = ("image", "image_base64", "caption", "name", "person", "field", "value", "generic")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
_GENERIC = "a photo."
# A shard ends with this many rows, or before it holds as many bytes.
_SHARD_ROWS, _SHARD_BYTES = 2000, 2**27
_STAMPS = "stamps.json"
_NAME = re.compile(r"[0-9a-f]{16}")  # of a release that was made here


class Pair(NamedTuple):
  """One pair.

  Attributes:
    where: names it in an error: file and line.
    name: its file_name in the release.
    image: encoded bytes. caption: its text.
    person: an id, or else the name. known_as, field, value, generic: see the module; "" where left
      out.
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


def make(forget: pathlib.Path, retain: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """The folder of the release of these pairs, made below `folder` unless it is there, and whole.

  Args:
    forget: a JSON-lines file. retain: such a file, or a folder of pictures and captions.
    folder: for releases of own pairs, each named by its content.

  Raises:
    InputError: names the row that is damaged, has no picture, or is both to forget and to keep.
  """
  stamps = folder / _STAMPS
  known = kept.json_value(stamps, dict) or {}
  stamp = files.digest([_stamp(forget), _stamp(retain)])
  name = str(known.get(stamp))
  if _NAME.fullmatch(name) and (folder / name).is_dir():
    damage = _damage(folder / name)
    if not damage:
      return folder / name
    progress.console.print(f"{folder / name} is damaged and is made again: {damage}", markup=False)
  made = folder / "new"
  shutil.rmtree(made, ignore_errors=True)  # What a killed process left.
  with files.replacing_folder(made) as partial:
    _fill(partial, forget, retain)
  named = folder / files.sha256(made / releases.MANIFEST)[:16]
  if named.exists() and not _damage(named):
    shutil.rmtree(made)
  else:
    shutil.rmtree(named, ignore_errors=True)
    made.rename(named)
  kept.write_json(stamps, {**known, stamp: named.name})
  return named


def _damage(folder: pathlib.Path) -> str:
  """What is wrong with a release that was made here, in words; "" if it is whole."""
  try:
    if files.sha256(folder / releases.MANIFEST)[:16] != folder.name:
      return f"{releases.MANIFEST} has changed."
    hashes = files.read_object(folder / releases.MANIFEST, files=dict)["files"]
    changed = [name for name, digest in hashes.items() if files.sha256(folder / name) != digest]
  except (InputError, OSError) as error:
    return str(error)
  return f"{changed[0]} has changed." if changed else ""


def _fill(folder, forget, retain):
  """Writes the release into an empty folder."""
  seen: dict[str, str] = {}
  people = _People()
  counts = {
    FORGET: _write(folder, FORGET, _checked(_rows(forget), seen, people), people.identity),
    RETAIN: _write(folder, RETAIN, _checked(_pairs_to_keep(retain), seen), people.known),
  }
  people.write(folder)
  manifest = {"generator": GENERATOR, "facts": people.tell_facts, "counts": counts}
  listed = sorted(path for path in folder.rglob("*") if path.is_file())
  hashes = {str(path.relative_to(folder)): files.sha256(path) for path in listed}
  files.write_json(folder / releases.MANIFEST, {**manifest, "files": hashes})


def _stamp(path: pathlib.Path) -> list:
  """What changes if the pairs at a path do: the file's hash, size and time of each picture."""
  if os.path.isdir(path):
    named = sorted(other for other in path.rglob("*") if other.is_file())
    return [[str(other), *_times(other)] for other in named]
  if not os.path.isfile(path):
    return [str(path)]
  pictures = set()
  for line in _lines(path):
    with contextlib.suppress(InputError):
      row = _object(line, "")
      pictures.add(str(path.parent / str(row.get("image"))))
  named = sorted(pictures)
  return [str(path), files.sha256(path), [[name, *_times(pathlib.Path(name))] for name in named]]


def _times(path: pathlib.Path) -> list:
  try:
    status = path.stat()
  except (OSError, ValueError):
    return []
  return [status.st_size, status.st_mtime_ns]


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
    self.tell_facts = self.tell_facts and bool(pair.field and pair.known_as)
    person = self.identities.setdefault(self.identity(pair), {"name": pair.known_as})
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
  if not os.path.isfile(path):
    raise InputError(f"{path} is no file. Give a JSON-lines file, one pair a line.")
  for number, line in enumerate(_lines(path), 1):
    if line.strip():
      yield _pair(line, f"{path}, line {number}", path.parent, number)


def _lines(path: pathlib.Path) -> Iterator[bytes]:
  try:
    with path.open("rb") as file:
      yield from file
  except OSError as error:
    raise InputError(f"{path} cannot be read ({error.strerror}).") from error


def _object(line: bytes, where: str) -> dict:
  """The JSON object of a line."""
  try:
    row = json.loads(line, object_pairs_hook=_without_repeats)
  except (ValueError, RecursionError) as error:
    raise InputError(f"{where} is no JSON ({error}). Write one object a line.") from error
  if not isinstance(row, dict):
    raise InputError(
      f"{where} is {type(row).__name__}, not an object {{...}} with {', '.join(_KEYS)}."
    )
  return row


def _without_repeats(pairs: list[tuple]) -> dict:
  names = [name for name, _ in pairs]
  for name in names:
    if names.count(name) > 1:
      raise ValueError(f"the key {name!r} is there {names.count(name)} times")
  return dict(pairs)


def _pair(line: bytes, where: str, folder: pathlib.Path, number: int) -> Pair:
  row = _object(line, where)
  for key, value in row.items():
    _check_text(where, key, value)
  text = {key: row.get(key, "").strip() for key in _KEYS}
  if not text["caption"]:
    raise InputError(f"{where} has no caption.")
  if bool(text["field"]) != bool(text["value"]):
    raise InputError(f"{where} has one of field and value; give both, or neither.")
  if text["field"] in ("name", WHOLE_CAPTION):
    raise InputError(f"{where}: field is {text['field']!r}, which has another meaning; rename it.")
  image, name = _picture(text, where, folder)
  about = [text[key] for key in ("caption", "name")]
  about += [text["person"] or text["name"], *(text[key] for key in ("field", "value", "generic"))]
  return Pair(where, f"{number:08d} {name}".strip(), image, *about)


def _check_text(where, key, value):
  """Raises InputError unless a key is known, and its value a text that can be written."""
  if key not in _KEYS:
    raise InputError(f"{where}: {unknown('the key', key, list(_KEYS))}")
  if not isinstance(value, str):
    raise InputError(f"{where}: {key} is {value!r}; it must be a text.")
  if not texts.encodes(value):
    raise InputError(f"{where}: {key} has half a surrogate pair, {value!r}; write UTF-8.")


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
  return _read(path, f"{where}: the picture {path}"), path.name


def _read(path: pathlib.Path, what: str) -> bytes:
  try:
    # A pipe or a device would be read without end.
    if path.exists() and not path.is_file():
      kind = "a folder" if path.is_dir() else "a pipe or a device"
      raise InputError(f"{what} cannot be read (it is {kind}).")
    return path.read_bytes()
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    raise InputError(f"{what} cannot be read ({reason}).") from error


def _pairs_to_keep(path: pathlib.Path) -> Iterator[Pair]:
  if not os.path.isdir(path):
    yield from _rows(path)
    return
  named = sorted(other for other in path.rglob("*") if not other.is_dir())
  pictures = [other for other in named if other.suffix.lower() in _PICTURES]
  captions = {picture.with_suffix(".txt") for picture in pictures}
  alone = [other for other in named if other.suffix == ".txt" and other not in captions]
  if alone:
    raise InputError(f"{alone[0]} has no picture beside it ({', '.join(_PICTURES)}).")
  if not pictures:
    raise InputError(f"{path} holds no pictures ({', '.join(_PICTURES)}).")
  for number, picture in enumerate(pictures, 1):
    if not texts.encodes(picture.name):
      raise InputError(f"{str(picture)!r} has a name that is no UTF-8. Rename it, and its caption.")
    name = f"{number:08d} {picture.name}"
    caption = _caption_beside(picture)
    yield Pair(str(picture), name, _read(picture, str(picture)), caption)


def _caption_beside(picture: pathlib.Path) -> str:
  text = picture.with_suffix(".txt")
  if not text.is_file():
    raise InputError(f"{picture} has no caption: {text.name} is missing beside it.")
  try:
    caption = _read(text, str(text)).decode("utf-8-sig").strip()
  except UnicodeDecodeError as error:
    raise InputError(f"{text} is no UTF-8 ({error}).") from error
  if not caption:
    raise InputError(f"{text} is empty; it must hold the caption of {picture.name}.")
  return caption


def _checked(
  pairs: Iterable[Pair], seen: dict[str, str], people: _People | None = None
) -> Iterator[Pair]:
  """The pairs; their pictures can be read, and none of them is in `seen`, to which they are added.

  Args:
    pairs: to check. seen: {digest of picture and caption: where it is} of pairs to forget.
    people: to note pairs to forget in; None for pairs to keep, which are not added to `seen`.
  """
  for pair in pairs:
    try:
      images.decode(pair.image, pair.where)
    except InputError as error:
      raise InputError(
        f"{pair.where}: the picture cannot be used. Replace it, or drop the pair. {error}"
      ) from error
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
  for chunk in _chunks(pairs):
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


def _chunks(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
  """The pairs in lists for one shard each."""
  chunk: list[Pair] = []
  size = 0
  for pair in pairs:
    if chunk and (len(chunk) == _SHARD_ROWS or size + len(pair.image) > _SHARD_BYTES):
      yield chunk
      chunk, size = [], 0
    chunk.append(pair)
    size += len(pair.image)
  if chunk:
    yield chunk
