"""A store of decoded images: those of a split, for the model's size S, in a memory-mapped file.

    {name}.u8      uint8, one image after another: the whole (H, W, 3) image if its shorter side is
                   S, so that any crop can be cut from it; otherwise the (S, S, 3) output of
                   `images.resize_and_crop`
    {name}.json    the source, the shapes, and a checksum for each block of rows; written last

Batches are bit-identical with and without a store. A store that is absent, damaged or made from
another source is rebuilt. If it cannot be built or written, rows are decoded at every read. A
store can cost time, but never change a result.
"""

import contextlib
import os
import pathlib
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import NamedTuple

import numpy as np
import PIL

from salmu_jax.data import images
from salmu_jax.data.releases import text_of
from salmu_jax.errors import InputError, UnwritableError
from salmu_jax.runtime import files, progress, workdir

# Version of the preprocessing and of the file format; a new one rebuilds every store.
VERSION = 1
BLOCK = 256  # rows per checksum; they are decoded, written and held in memory together
_LONGEST = 2  # times S: the longest side of an image that is stored whole


class Wanted(NamedTuple):
  """A split whose images are to be stored.

  Attributes:
    source: its random-access rows, {"image": encoded bytes, "file_name", ...}.
    texts: texts() -> {field: its values in row order}, used instead of the source's; other fields
      of a row are read from the source on access.
    digest: identifies the content of the source.
    whole_only: whether the store is useful only if it keeps every image whole.
  """

  source: Sequence[Mapping]
  texts: Callable[[], Mapping[str, Sequence[str]]]
  digest: str
  whole_only: bool = False


class StoredRows:
  """Random-access rows whose images are in a store.

  A row has the given texts; "pixels", (S, S, 3) uint8, the output of `images.resize_and_crop`;
  "whole", (H, W, 3) uint8, the whole image, if that is stored; and all fields of the source,
  including "image", which are read on access.
  """

  def __init__(self, wanted: Wanted, store: "_Store"):
    self._source, self._store = wanted.source, store
    self._texts = {field: list(values) for field, values in wanted.texts().items()}

  def __len__(self):
    return len(self._source)

  def __getitem__(self, index):
    index = range(len(self))[index]  # Raises IndexError past the end.
    row = _Row(self._source, index)
    for field, values in self._texts.items():
      row[field] = values[index]
    self._store.add(row, index)
    return row


class _Row(dict):
  """The fields of a row; missing ones are read from its source."""

  __slots__ = ("_index", "_source")

  def __init__(self, source, index):
    super().__init__()
    self._source, self._index = source, index

  def __missing__(self, field):
    return self._source[self._index][field]


class _Store:
  """An opened store. A block is checked when it is first read."""

  def __init__(self, path, record):
    self._size, self._checksums = record["about"]["size"], record["checksums"]
    self._shapes, self._starts = _layout(record)
    # Not as np.memmap, which is slow to index.
    self._bytes = np.memmap(path, np.uint8, "r").view(np.ndarray)
    self._path, self._lock = path, threading.Lock()
    self._sound = [None] * len(self._checksums)  # by block; None before it is read

  def add(self, row, index):
    """Adds "pixels", and perhaps "whole", to a row, unless it is in a damaged block."""
    block = index // BLOCK
    if self._sound[block] is None:
      self._check(block)
    if not self._sound[block]:
      return
    size, (height, width) = self._size, self._shapes[index].tolist()
    stored = self._bytes[self._starts[index] : self._starts[index + 1]]
    if not height:
      row["pixels"] = stored.reshape(size, size, 3)
      return
    row["whole"] = whole = stored.reshape(height, width, 3)
    left, top = images.corner(width, height, size)
    row["pixels"] = whole[top : top + size, left : left + size]

  def _check(self, block):
    first, last = block * BLOCK, min((block + 1) * BLOCK, len(self._shapes))
    content = self._bytes[self._starts[first] : self._starts[last]]
    sound = zlib.crc32(content) == self._checksums[block]
    with self._lock:
      known, self._sound[block] = self._sound[block], sound
    if not sound and known is None:
      # Where it cannot be removed, the next run finds the damage again.
      with contextlib.suppress(OSError):
        _record_path(self._path).unlink(missing_ok=True)
      _say(
        f"{self._path} is damaged in rows {first} to {last - 1}. These rows are decoded from their "
        "source, and the next run rebuilds the file."
      )


def stored(
  folder: str | os.PathLike,
  wanted: Mapping[str, Wanted],
  *,
  size: int,
  most_bytes: float,
) -> dict[str, StoredRows]:
  """Opens the stores of splits, and makes missing ones.

  Args:
    folder: of the stores. Everything else in it is removed, including stores of other splits.
    wanted: {name of a split: what to store}, the most important first.
    size: S, pixels.
    most_bytes: maximum size of all stores together; splits beyond it get none.

  Returns:
    {name: rows} of the splits that have a store.
  """
  folder, rows, left = pathlib.Path(folder), {}, most_bytes
  _remove_others(folder, wanted)
  for name, split in wanted.items() if most_bytes else ():
    path, about = folder / f"{name}.u8", _about(name, split, size)
    store = _opened(path, about, left) or _made(path, about, split, left)
    if store:
      rows[name] = StoredRows(split, store)
      left -= path.stat().st_size
  _remove_others(folder, rows)
  return rows


def _about(name, split, size):
  """Everything that the content of a store depends on. Decoders differ in rounding."""
  return {
    "version": VERSION,
    "pillow": PIL.__version__,
    "source": split.digest,
    "split": name,
    "size": size,
    "rows": len(split.source),
    "block": BLOCK,
  }


def _layout(record):
  """(N, 2) height and width of each whole image, 0 for others; (N + 1,) byte offsets."""
  shapes = np.frombuffer(bytes.fromhex(record["shapes"]), "<u2").reshape(-1, 2).astype(np.int64)
  pixels = np.where(shapes[:, 0] > 0, shapes.prod(axis=1), record["about"]["size"] ** 2)
  return shapes, np.concatenate([[0], np.cumsum(3 * pixels)])


def _record_path(path):
  return path.with_suffix(".json")


def _opened(path, about, most_bytes):
  """The store, or None if it is absent or cannot be used."""
  if not _record_path(path).exists():
    return None
  try:
    record = files.read_json(_record_path(path))
    reason = _reason_against(record, path, about, most_bytes)
    if not reason:
      return _Store(path, record)
  except (InputError, OSError) as error:
    reason = str(error)
  _say(f"{path} is not usable and rebuilt: {reason}")
  return None


def _reason_against(record, path, about, most_bytes):
  """Why a store cannot be used; "" if it can."""
  parts = ("about", "shapes", "checksums")
  if not isinstance(record, dict) or set(record) != {*parts, "digest"}:
    return "its JSON file does not describe a store."
  if record["digest"] != files.digest({part: record[part] for part in parts}):
    return "its JSON file is damaged."
  different = [key for key in about if record["about"].get(key) != about[key]]
  if different:
    key = different[0]
    return f"its {key} is {record['about'].get(key)!r}, expected {about[key]!r}."
  size, expected = path.stat().st_size, _layout(record)[1][-1]
  if size != expected:
    return f"it has {size} bytes, expected {expected}."
  return "" if size <= most_bytes else "it exceeds the space left of config.stored_pictures."


class _NotWanted(Exception):
  """A store would be useless or too large; the message, if any, is for the user."""


def _made(path, about, split, most_bytes):
  """A new store, or None if it cannot be made."""
  reason = ""
  try:
    workdir.remove(_record_path(path))
    workdir.remove(path)
    least = 3 * about["rows"] * about["size"] ** 2
    if split.whole_only and not _is_whole(_decoded(split.source[0]), about["size"]):
      return None
    _check_bytes(least, most_bytes)
    files.require_space(path.parent, least, "the stored pictures")
    with files.replacing(path) as temporary:
      record = _write(temporary, about, split, most_bytes)
    files.write_json(_record_path(path), {**record, "digest": files.digest(record)})
    return _Store(path, record)
  except (_NotWanted, UnwritableError, OSError) as error:
    reason = str(error)
  if reason:
    _say(
      f"The images of {about['split']} are not stored in {path.parent} but decoded at every read: "
      f"{reason}"
    )
  return None


def _check_bytes(needed, most_bytes):
  if needed > most_bytes:
    raise _NotWanted(
      f"they need at least {needed / 2**30:.2g} GiB, and {most_bytes / 2**30:.2g} GiB of "
      "config.stored_pictures are left."
    )


def _write(path, about, split, most_bytes):
  """Decodes all rows into a file; returns its record."""
  count, size, shapes, checksums, written = about["rows"], about["size"], [], [], 0

  def picture(number):
    image = _decoded(split.source[number])
    if _is_whole(image, size):
      return np.asarray(image), image.size[::-1]
    return images.resize_and_crop(image, size), (0, 0)

  with (
    open(path, "wb") as file,
    futures.ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode") as pool,
    progress.counting(f"storing pictures of {about['split']}", count) as tick,
  ):
    for start in range(0, count, BLOCK):
      block = list(pool.map(picture, range(start, min(start + BLOCK, count))))
      if split.whole_only and not all(height for _, (height, _) in block):
        raise _NotWanted
      content = b"".join(pixels.tobytes() for pixels, _ in block)
      written += len(content)
      _check_bytes(written, most_bytes)
      file.write(content)
      checksums.append(zlib.crc32(content))
      shapes += [shape for _, shape in block]
      tick(len(block))
  return {"about": about, "shapes": np.array(shapes, "<u2").tobytes().hex(), "checksums": checksums}


def _is_whole(image, size):
  """Whether an image is stored whole: `resize_and_crop` would not resize it."""
  return min(image.size) == size and max(image.size) <= _LONGEST * size


def _decoded(row):
  return images.decode(row["image"], repr(text_of(row["file_name"])))


def _say(message):
  progress.console.print(message, style="yellow", markup=False)


def _remove_others(folder, names):
  """Removes leftovers of killed runs, and stores of other splits than these."""
  kept = {f"{name}{ending}" for name in names for ending in (".u8", ".json")}
  for path in folder.glob("*"):
    if path.name not in kept:
      with contextlib.suppress(OSError):  # Costs disk space, and nothing else.
        path.unlink()
