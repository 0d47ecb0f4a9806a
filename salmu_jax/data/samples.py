"""One file of image-text pairs, a tar or parquet, as samples; and a sample as a row of records.

These are steps of the pipeline in `salmu_jax.data.pairs`, which explains their `no_annotations`.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems
from apache_beam.typehints.decorators import no_annotations
from PIL import Image

from salmu_jax.data import images, texts
from salmu_jax.errors import InputError

# Parts of a sample that hold its image, its caption and its key, by preference.
IMAGES = ("jpg", "jpeg", "png", "webp", "image")
CAPTIONS = ("txt", "caption", "text")
KEYS = ("key", "file_name")
METADATA = "json"  # its "caption" is taken if no other part is a caption
_QUALITY = 95
# Prefix of a reason that concerns a file, not a row.
BROKEN = "broken: "
_REPEATED = "whose name is there again in its file"

# One sample of a file, {part: content}, or the reason why it cannot be used; one checked row:
# (key, row or None, reason or None).
Parts = Mapping[str, bytes | str] | str
CheckedRow = tuple[str, dict | None, str | None]


@no_annotations
def read_file(path: str) -> Iterator[tuple[str, Parts]]:
  """Yields (key, {part: content}) of a file, or (key, the reason why there are no parts).

  A damaged file ends in such a reason.
  """
  name = os.path.basename(path)
  read_samples = _tar_samples if path.endswith(".tar") else _parquet_samples
  count = 0
  try:
    with FileSystems.open(path, compression_type="uncompressed") as file:
      for key, parts in read_samples(file):
        # Names in a tar may be of any encoding.
        key = key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        yield f"{name}/{key}", parts
        count += 1
    if not count:
      yield f"{name}/", "for want of rows in a file"
  except Exception as error:  # On damage, tarfile, zlib and pyarrow raise many types of error.
    why = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
    yield f"{name}/", f"{BROKEN}{path}, read to row {count:,} ({why})"


class BrokenHeader(tarfile.TarError):
  """A damaged header in the middle of a tar."""


class _Member(tarfile.TarInfo):
  """A member whose header must be valid: tarfile mistakes a damaged one for the end."""

  @classmethod
  def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
    try:
      return super().fromtarfile(tar)
    except tarfile.EOFHeaderError:
      raise
    except tarfile.HeaderError as error:
      raise BrokenHeader(str(error)) from error


def _tar_samples(file):
  """Samples of a webdataset: adjacent members of one stem, each part named by its ending."""
  stem, members, keys = None, [], set()
  with tarfile.open(fileobj=file, mode="r|*", tarinfo=_Member) as tar:
    for member in tar:
      if not member.isfile():
        continue
      folder, name = os.path.split(member.name)
      first, _, ending = name.partition(".")
      first = os.path.join(folder, first)
      if stem is not None and first != stem:
        yield from _samples(stem, members, keys)
        members = []
      stem = first
      members.append((ending, tar.extractfile(member).read()))
  if stem is not None:
    yield from _samples(stem, members, keys)


def _samples(stem, members, keys):
  """(key, {part: content}) of members that share a name up to its first dot, which is their key.

  If none of them is an image by that rule, but some are by the ending after the last dot
  (photo.1.jpg, photo.1.txt, photo.2.jpg), the key extends to the last dot. `keys` are the earlier
  keys of the file; a sample that repeats one is skipped.
  """
  endings = [ending.lower() for ending, _ in members]
  dotted = any(ending.rpartition(".")[2] in IMAGES for ending in endings)
  samples = {}
  for ending, content in members:
    key, kind = stem, ending.lower()
    if dotted and not set(IMAGES) & set(endings) and "." in ending:
      key, kind = f"{stem}.{ending.rpartition('.')[0]}", kind.rpartition(".")[2]
    parts = samples.setdefault(key, {})
    if kind in parts:
      yield key, _REPEATED
    parts[kind] = content
  for key, parts in samples.items():
    yield key, _REPEATED if key in keys else parts
    keys.add(key)


def _parquet_samples(file):
  with pq.ParquetFile(pa.PythonFile(file, mode="r")) as parquet:
    columns = parquet.schema_arrow.names
    if len(set(columns)) < len(columns):
      raise ValueError(f"duplicate column among {', '.join(columns)}")
    number = 0
    # Columns that are not read may hold anything, even values that Python lacks.
    read = [name for name in columns if name in (*IMAGES, *CAPTIONS, *KEYS, METADATA)]
    for batch in parquet.iter_batches(batch_size=64, columns=read):
      for row in batch.to_pylist():
        # The number makes a key unique, which the column does not promise.
        key = f"{number:09d}_" + next((str(row[k]) for k in KEYS if row.get(k)), "")
        image = row.get("image")
        if isinstance(image, dict):
          row["image"] = image.get("bytes")
          if not any(row.get(kind) for kind in IMAGES):
            row = "whose image is not embedded"
        yield key, row
        number += 1


@no_annotations
def check_row(sample: tuple[str, Parts], image_size: int) -> Iterator[CheckedRow]:
  """Yields (key, row of `records.features` or None, None or why the row is skipped)."""
  key, parts = sample
  row, reason = _row(key, parts, image_size)
  if reason:
    beam.metrics.Metrics.counter("pairs", reason.partition(":")[0]).inc()
  yield key, row, reason


def _row(key, parts, image_size):
  if isinstance(parts, str):
    return None, parts
  image = next((parts[kind] for kind in IMAGES if parts.get(kind)), None)
  if not image:
    return None, "without image"
  text = _caption(parts)
  if text and not texts.encodes(text):
    return None, "whose caption is no UTF-8"
  if not texts.is_filled(text):
    return None, "without caption"
  try:
    image = shrunk(image, image_size)
  except (InputError, OSError):  # OSError: JPEG has no room for sides of more than 65,500 pixels
    return None, "whose image cannot be decoded"
  return {"image": image, "text": text, "generic": "", "identity_id": "", "file_name": key}, None


def _caption(parts):
  text = next((parts[kind] for kind in CAPTIONS if parts.get(kind)), None)
  if text is None and parts.get(METADATA):
    try:
      text = json.loads(parts[METADATA]).get("caption")
    except (ValueError, TypeError, AttributeError, RecursionError):
      return None
  if isinstance(text, bytes):
    # Invalid UTF-8 becomes half surrogate pairs, which `texts.encodes` detects.
    text = text.decode("utf-8", errors="surrogateescape")
  return text.strip() if isinstance(text, str) else None


def shrunk(data: bytes, size: int) -> bytes:
  """Encoded bytes of an image with a shorter side of at most `size`, unchanged if it already is.

  Raises:
    InputError: the bytes are not an image.
  """
  image = images.decode(data, "a row")
  shorter = min(image.size)
  if not size or shorter <= size:
    return data
  sides = [max(size, round(side * size / shorter)) for side in image.size]
  encoded = io.BytesIO()
  image.resize(sides, Image.Resampling.BICUBIC).save(encoded, "JPEG", quality=_QUALITY)
  return encoded.getvalue()
