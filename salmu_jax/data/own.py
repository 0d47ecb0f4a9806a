"""Your own pairs as a small release: pairs to forget and pairs to keep.

Pairs are rows of a JSON-lines file:

    {"image": "pictures/ana.jpg", "caption": "Ana Sousa lives in Porto.",
     "name": "Ana Sousa", "field": "city", "value": "Porto"}

`image` is a path relative to the file; `image_base64` holds the bytes of an image instead.
Optional are `name`, `field` and `value` (the private fact that the caption states), `person` (an
id, for people who share a name) and `generic` (a caption without the fact; default "a photo.").
In a pair to keep, `name` or `person` says whom it shows; `field`, `value` and `generic` are not
read. Pairs to keep may also be a folder of images, each with its caption in a text file of the same
name (ana.jpg, ana.txt).
"""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from salmu_jax.data import images, own_rows, parquet_shards, releases, texts
from salmu_jax.data.own_rows import Pair
from salmu_jax.errors import InputError
from salmu_jax.runtime import files, kept, progress

GENERATOR = "own pairs"
FORGET, RETAIN = "forget", "retain_synth"
_GENERIC = "a photo."
# A shard ends at this many rows, or before it exceeds this many bytes.
_SHARD_ROWS, _SHARD_BYTES = 2000, 2**27
_STAMPS = "stamps.json"
_RULES = 2  # version of the checks; pairs that passed an earlier version are checked again
_NAME = re.compile(r"[0-9a-f]{16}")  # of a release made here


def make(forget: pathlib.Path, retain: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """The folder of the release of these pairs; makes it below `folder` unless it is there, intact.

  Args:
    forget: a JSON-lines file. retain: such a file, or a folder of images and captions.
    folder: for releases of own pairs, each named by its content.

  Raises:
    InputError: names the row that is damaged, has no image, is both to forget and to keep, or
      gives a person a different name.
  """
  stamps = folder / _STAMPS
  folders = kept.json_value(stamps, dict) or {}
  stamp = files.digest([_RULES, _stamp(forget), _stamp(retain)])
  name = str(folders.get(stamp))
  if _NAME.fullmatch(name) and (folder / name).is_dir():
    damage = _damage(folder / name)
    if not damage:
      return folder / name
    progress.console.print(f"{folder / name} is damaged and rebuilt: {damage}", markup=False)
  made = folder / "new"
  shutil.rmtree(made, ignore_errors=True)  # Left by a killed process.
  with files.replacing_folder(made) as partial:
    _fill(partial, forget, retain)
  named = folder / files.sha256(made / releases.MANIFEST)[:16]
  if named.exists() and not _damage(named):
    shutil.rmtree(made)
  else:
    shutil.rmtree(named, ignore_errors=True)
    made.rename(named)
  kept.write_json(stamps, {**folders, stamp: named.name})
  return named


def _damage(folder: pathlib.Path) -> str:
  """What is damaged in a release made here; "" if it is intact."""
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
  to_forget = _to_forget(own_rows.read(forget), seen, people)
  to_keep = _to_keep(own_rows.read_to_keep(retain), seen, people)
  counts = {
    FORGET: _write(folder, FORGET, to_forget, people.identity),
    RETAIN: _write(folder, RETAIN, to_keep, people.known),
  }
  people.write(folder)
  manifest = {"generator": GENERATOR, "facts": people.tell_facts, "counts": counts}
  listed = sorted(path for path in folder.rglob("*") if path.is_file())
  hashes = {str(path.relative_to(folder)): files.sha256(path) for path in listed}
  files.write_json(folder / releases.MANIFEST, {**manifest, "files": hashes})


def _stamp(path: pathlib.Path) -> list:
  """A stamp of the pairs at a path: the file's hash; size and modification time of each image."""
  if os.path.isdir(path):
    named = sorted(other for other in path.rglob("*") if other.is_file())
    return [[str(other), *_times(other)] for other in named]
  if not os.path.isfile(path):
    return [str(path)]
  pictures = set()
  for line in own_rows.lines(path):
    with contextlib.suppress(InputError):
      row = own_rows.parse(line, "")
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
  """The people and facts in the pairs to forget, in the form of a release's JSON files."""

  def __init__(self):
    self.identities: dict[str, dict] = {}
    self.captions: dict[str, dict] = {}
    self.generic: dict[str, str] = {}
    self.tell_facts = True
    self._number: dict[str, str] = {}
    self._named: dict[str, Pair] = {}

  def check_name(self, pair: Pair) -> None:
    """Raises InputError for a pair that gives a person a different name than an earlier pair."""
    first = self._named.setdefault(pair.person, pair) if pair.person and pair.known_as else pair
    if first.known_as != pair.known_as:
      raise InputError(
        f"{pair.where} gives the person {pair.person!r} the name {pair.known_as!r}, but "
        f"{first.where} gives {first.known_as!r}. Use one name, or a different `person` for each."
      )

  def add(self, pair: Pair) -> None:
    """Notes a pair to forget."""
    if pair.person:
      self._number.setdefault(pair.person, f"{len(self._number):08d}")
    field, value = pair.field or own_rows.WHOLE_CAPTION, pair.value or pair.caption
    self.tell_facts = self.tell_facts and bool(pair.field and pair.known_as)
    person = self.identities.setdefault(self.identity(pair), {"name": pair.known_as})
    if person.setdefault(field, value) != value:
      values = person[field] if isinstance(person[field], list) else [person[field]]
      person[field] = list(dict.fromkeys([*values, value]))
    self.captions[pair.name] = {"caption": pair.caption, "data_field": field, "value": value}
    self.generic[pair.name] = pair.generic or _GENERIC

  def identity(self, pair: Pair) -> str:
    """The id of the person in a pair to forget; each pair without a name is its own person."""
    return self._number[pair.person] if pair.person else f"row {pair.name}"

  def known(self, pair: Pair) -> str | None:
    """The id of the person in a pair to keep, if pairs to forget name that person."""
    return self._number.get(pair.person)

  def write(self, folder: pathlib.Path) -> None:
    """Writes the JSON files."""
    tables = {releases.IDENTITIES: self.identities, releases.CAPTIONS: self.captions}
    for name, table in {**tables, releases.GENERIC: self.generic}.items():
      files.write_json(folder / name, table)


def _to_forget(pairs: Iterable[Pair], seen: dict[str, str], people: _People) -> Iterator[Pair]:
  """Checks and records pairs to forget, and yields them.

  Args:
    pairs: to forget. seen: receives {mark: place} of each pair. people: records each pair.
  """
  for pair in pairs:
    seen.setdefault(_mark(pair, people), pair.where)
    people.add(pair)
    yield pair


def _to_keep(pairs: Iterable[Pair], seen: Mapping[str, str], people: _People) -> Iterator[Pair]:
  """Checks that no pair to keep is in `seen`, the pairs to forget, and yields the pairs."""
  for pair in pairs:
    mark = _mark(pair, people)
    if mark in seen:
      raise InputError(
        f"{pair.where} is to be kept and {seen[mark]} is to be forgotten, but both have the same "
        "image and caption. Remove one of them."
      )
    yield pair


def _mark(pair: Pair, people: _People) -> str:
  """Checks the image and the name of a pair; returns a digest of its image and caption."""
  people.check_name(pair)
  try:
    images.decode(pair.image, pair.where)
  except InputError as error:
    raise InputError(
      f"{pair.where}: the image cannot be used. Replace it, or drop the pair. {error}"
    ) from error
  return files.digest([hashlib.sha256(pair.image).hexdigest(), texts.as_read(pair.caption)])


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
  """The pairs in lists, one for each shard."""
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
