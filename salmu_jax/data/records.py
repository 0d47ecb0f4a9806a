"""A release as ArrayRecord, through TFDS and without TensorFlow: random access by row number."""

import contextlib
import itertools
import pathlib
import shutil

import tensorflow_datasets as tfds
from array_record.python import array_record_module

from salmu_jax.data import images, releases
from salmu_jax.errors import InputError
from salmu_jax.results import splits
from salmu_jax.runtime import files

DONE = "built_from.json"
_NAME, VERSION = "salmu", "1.0.0"
# What `python -m salmu_jax.data` writes: a dataset of this name with one split.
PAIRS, PAIRS_SPLIT, COUNTS = "pairs", "retain_real", "counts.json"
_SHARD_ROWS = 8192
_PART_ROWS = 64  # encoded and written at once; what is in memory


def build(release, folder, on_row=None):
  """Writes the records unless they are there; every image is decoded once as a check.

  Rows are written as they are read, so memory does not grow with the release. TFDS's own way, a
  GeneratorBasedBuilder, sorts a split in memory, and in files once it has 1 GB, which needs
  TensorFlow.

  Args:
    release: an opened release; its hashes are verified first.
    folder: where the records go.
    on_row: called after each row, for progress.

  Returns:
    split -> random-access source of rows; images stay encoded.

  Raises:
    InputError: a damaged file, or a row with a corrupt image or no text, named.
  """
  folder = pathlib.Path(folder)
  mark, data = folder / DONE, folder / _NAME / VERSION
  if not mark.exists() or files.read_json(mark) != release.digest:
    releases.verify(release)
    shards = [file for split in _used(release) for file in release.shards[split]]
    size = sum(file.stat().st_size for file in shards)
    files.require_space(folder, 2 * size, "the ArrayRecord files")
    shutil.rmtree(folder, ignore_errors=True)
    _write(release, data, on_row or (lambda: None))
    files.write_json(mark, release.digest)
  builder = tfds.builder_from_directory(data)
  return {split: _source(builder, split) for split in _used(release)}


def _source(builder, split):
  """Random access to the rows of a split, whose files are first seen to hold what the index
  says.
  """
  lengths = builder.info.splits[split].shard_lengths
  for file, length in zip(builder.info.splits[split].filepaths, lengths, strict=True):
    found = _record_count(file)
    if found != length:
      raise InputError(
        f"{file} has {found} records, and its index says {length}: it was cut short or changed. "
        "Delete the folder it is in, to have it made anew."
      )
  return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})


def _record_count(file):
  try:
    with contextlib.closing(array_record_module.ArrayRecordReader(str(file))) as reader:
      return reader.num_records()
  except (RuntimeError, ValueError, OSError) as error:
    raise InputError(
      f"{file} cannot be read as ArrayRecord ({str(error).splitlines()[0]}). Delete the folder it "
      "is in, to have it made anew."
    ) from error


class Rows:
  """Some rows of a random-access source, as a random-access source."""

  def __init__(self, source, chosen):
    self._source, self._chosen = source, [int(row) for row in chosen]

  def __len__(self):
    return len(self._chosen)

  def __getitem__(self, index):
    return self._source[self._chosen[index]]


def open_pairs(folder):
  """Pairs that `python -m salmu_jax.data` wrote: (random access to rows, digest of what they are).

  Raises:
    InputError: not there, or a file that does not hold what the index says.
  """
  folder = pathlib.Path(folder).expanduser()
  data = folder / PAIRS / VERSION
  if not (data / "dataset_info.json").exists():
    raise InputError(
      f"config.retain_pairs = {str(folder)!r} holds no pairs. Write them with python -m "
      "salmu_jax.data."
    )
  builder = tfds.builder_from_directory(data)
  return _source(builder, PAIRS_SPLIT), files.read_json(folder / COUNTS)["digest"]


def rows(release):
  """How many rows `build` reads."""
  return sum(release.counts[split] for split in _used(release))


def features():
  """What a row of records is."""
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
  writer.initialize_splits(_used(release))
  for split in _used(release):
    checked = _checked_rows(release, split, on_row)
    while part := list(itertools.islice(checked, _PART_ROWS)):
      writer.add_examples({split: part})
  writer.close_all()


def _checked_rows(release, split, on_row):
  """The rows of a split in order, with the generic caption beside the private one."""
  for number, row in enumerate(releases.rows(release, split)):
    where = f"row {number} ({row['file_name']!r}) of split {split!r} in {release.path}"
    images.decode(row["image"], where)
    if not row["text"]:
      raise InputError(f"The text of {where} is empty; every row needs a caption.")
    yield {**row, "generic": release.generic.get(row["file_name"], "")}
    on_row()


def _used(release):
  """Splits that something reads; TFDS knows no split without rows."""
  return [split for split in splits.of_a_release() if release.counts.get(split)]
