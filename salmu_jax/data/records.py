"""A release as ArrayRecord, through TFDS and without TensorFlow: random access by row number."""

import bisect
import contextlib
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from salmu_jax.data import images, record_marks, releases
from salmu_jax.data.releases import Release
from salmu_jax.errors import InputError
from salmu_jax.results import splits
from salmu_jax.runtime import files, workdir

_NAME, VERSION = "salmu", "1.0.0"
# The dataset that `python -m salmu_jax.data` writes, its only split, and its counts.
PAIRS, PAIRS_SPLIT, COUNTS = "pairs", "retain_real", "counts.json"
_SHARD_ROWS = 8192
_PART_ROWS = 64  # rows that are encoded, written and held in memory together
_AGAIN = "Restore it, or delete the folder to rebuild it."


def build(
  release: Release, folder: str | os.PathLike, on_row: Callable[[], object] | None = None
) -> dict[str, Sequence[Mapping]]:
  """Writes the records of a release unless they exist; decodes every image once as a check.

  Damaged records are written again. Rows are written as they are read, so memory does not grow with
  the release. TFDS's GeneratorBasedBuilder would sort a split in memory, or above 1 GB in files,
  which needs TensorFlow.

  Args:
    release: an opened release; its hashes are verified first.
    folder: the folder of the records.
    on_row: called after each row, for progress.

  Returns:
    split -> random-access rows, their images encoded.

  Raises:
    InputError: names a damaged file, or a row with a damaged image or no text.
  """
  folder = pathlib.Path(folder)
  data = folder / _NAME / VERSION
  if not record_marks.are_whole(release, folder):
    releases.verify(release)
    shards = [file for split in _splits(release) for file in release.shards[split]]
    size = sum(file.stat().st_size for file in shards)
    files.require_space(folder, 2 * size, "the ArrayRecord files")
    workdir.remove(folder)
    _write(release, data, on_row or (lambda: None))
    record_marks.write(release, folder)
  return {split: _source(data, split) for split in _splits(release)}


class _Source:
  """Random access to the rows of a split; an error names a damaged row."""

  def __init__(self, source: Sequence[Mapping], folder: pathlib.Path, split: str):
    self._source, self._folder, self._split = source, folder, split
    self._rows = len(source)

  def __len__(self):
    return self._rows

  def __getitem__(self, index):
    if not 0 <= index < self._rows:
      raise IndexError(index)
    try:
      return self._source[index]
    except RuntimeError as error:  # of ArrayRecord, which compares checksums
      raise InputError(
        f"Row {index} of {self._split} in {self._folder} is damaged ({_first_line(error)}). "
        f"{_AGAIN}"
      ) from error


def _source(data, split):
  """Random access to the rows of a split; checks that its files hold as many as the index lists."""
  try:
    builder = tfds.builder_from_directory(data)
    info = builder.info.splits[split]
    shards = list(zip(info.filepaths, info.shard_lengths, strict=True))
  except Exception as error:  # TFDS has many readers, each with its own errors.
    raise InputError(
      f"The index of the records in {data} is damaged ({_first_line(error)}). {_AGAIN}"
    ) from error
  for file, length in shards:
    count = _record_count(file)
    if count != length:
      raise InputError(
        f"{file} has {count} records, but its index lists {length}: it was truncated or changed. "
        f"{_AGAIN}"
      )
  rows = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
  return _Source(rows, data, split)


def _first_line(error):
  return next(iter(str(error).splitlines()), type(error).__name__)


def _record_count(file):
  try:
    with contextlib.closing(array_record_module.ArrayRecordReader(str(file))) as reader:
      return reader.num_records()
  except (RuntimeError, ValueError, OSError) as error:
    raise InputError(
      f"{file} cannot be read as ArrayRecord ({_first_line(error)}). {_AGAIN}"
    ) from error


class Rows:
  """A selection of random-access rows, itself random-access."""

  def __init__(self, source: Sequence[Mapping], numbers: Iterable[int]):
    self._source, self._numbers = source, [int(number) for number in numbers]

  def __len__(self):
    return len(self._numbers)

  def __getitem__(self, index):
    return self._source[self._numbers[index]]


class Joined:
  """The rows of several sources one after another, itself random-access."""

  def __init__(self, sources: Sequence[Sequence[Mapping]]):
    self._sources = list(sources)
    self._ends = list(itertools.accumulate(len(source) for source in self._sources))

  def __len__(self):
    return self._ends[-1]

  def __getitem__(self, index):
    if not 0 <= index < len(self):
      raise IndexError(index)
    number = bisect.bisect_right(self._ends, index)
    return self._sources[number][index - (self._ends[number - 1] if number else 0)]


class EmbeddedRows:
  """Random-access rows, each with the "embedding" of its image."""

  def __init__(self, source: Sequence[Mapping], table: np.ndarray):
    """Takes the rows, and the (N, D) embeddings of their images."""
    self._source, self._table = source, table

  def __len__(self):
    return len(self._source)

  def __getitem__(self, index):
    row = self._source[index]
    row["embedding"] = self._table[index]
    return row


def open_pairs(folder: str | os.PathLike) -> tuple[Sequence[Mapping], str]:
  """Opens the pairs that `python -m salmu_jax.data` wrote.

  Returns:
    Random-access rows, and the digest of their content.

  Raises:
    InputError: there are no pairs, the index is damaged, or a file does not hold as many rows as
      the index lists.
  """
  folder = pathlib.Path(folder).expanduser()
  data = folder / PAIRS / VERSION
  if not (data / "dataset_info.json").exists():
    raise InputError(
      f"config.retain_pairs = {str(folder)!r} holds no pairs. Write them with python -m "
      "salmu_jax.data."
    )
  return _source(data, PAIRS_SPLIT), files.read_object(folder / COUNTS, digest=str)["digest"]


def texts(release: Release, split: str) -> dict[str, Sequence[str]]:
  """{field: its values in row order} of the text fields of a split."""
  table = releases.columns(release, split)
  return {**table, "generic": [release.generic.get(name, "") for name in table["file_name"]]}


def row_count(release: Release) -> int:
  """The number of rows that `build` reads."""
  return sum(release.counts[split] for split in _splits(release))


def features() -> tfds.features.FeaturesDict:
  """The fields of a row."""
  text = tfds.features.Text
  return tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=(None, None, 3)),
      "text": text(),
      "generic": text(),
      "identity_id": text(),
      "file_name": text(),
    }
  )


def _write(release, data, on_row):
  data.mkdir(parents=True)
  identity = tfds.core.DatasetIdentity(_NAME, tfds.core.Version(VERSION), str(data), __name__)
  info = tfds.core.DatasetInfo(
    builder=identity,
    description="A SALMUBench release.",
    features=features(),
    disable_shuffling=True,
  )
  writer = tfds.core.SequentialWriter(info, _SHARD_ROWS, file_format="array_record")
  writer.initialize_splits(_splits(release))
  for split in _splits(release):
    rows = _checked_rows(release, split, on_row)
    while part := list(itertools.islice(rows, _PART_ROWS)):
      writer.add_examples({split: part})
  writer.close_all()


def _checked_rows(release, split, on_row):
  """The rows of a split in order, with the generic caption next to the private one."""
  for number, row in enumerate(releases.rows(release, split)):
    where = f"row {number} ({row['file_name']!r}) of split {split!r} in {release.path}"
    images.decode(row["image"], where)
    if not row["text"]:
      raise InputError(f"The text of {where} is empty; every row needs a caption.")
    yield {**row, "generic": release.generic.get(row["file_name"], "")}
    on_row()


def _splits(release):
  """The benchmark's splits that have rows; TFDS has no empty split."""
  return [split for split in splits.of_a_release() if release.counts.get(split)]
