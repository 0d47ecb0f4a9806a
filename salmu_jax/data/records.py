"""A release as ArrayRecord, through TFDS and without TensorFlow: random access by row number."""

import itertools
import pathlib
import shutil

import tensorflow_datasets as tfds

from salmu_jax import files
from salmu_jax.data import images
from salmu_jax.data import release as release_lib
from salmu_jax.errors import InputError

DONE = "built_from.json"
_NAME, _VERSION = "salmu", "1.0.0"
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
  mark, data = folder / DONE, folder / _NAME / _VERSION
  if not mark.exists() or files.read_json(mark) != release.digest:
    release_lib.verify(release)
    shards = [file for split in _used(release) for file in release.shards[split]]
    size = sum(file.stat().st_size for file in shards)
    files.require_space(folder, 2 * size, "the ArrayRecord files")
    shutil.rmtree(folder, ignore_errors=True)
    _write(release, data, on_row or (lambda: None))
    files.write_json(mark, release.digest)
  builder = tfds.builder_from_directory(data)
  skip = {"image": tfds.decode.SkipDecoding()}
  return {split: builder.as_data_source(split, decoders=skip) for split in _used(release)}


def rows(release):
  """How many rows `build` reads."""
  return sum(release.counts[split] for split in _used(release))


def _write(release, data, on_row):
  data.mkdir(parents=True)
  text = tfds.features.Text
  identity = tfds.core.DatasetIdentity(_NAME, tfds.core.Version(_VERSION), str(data), __name__)
  info = tfds.core.DatasetInfo(
    builder=identity,
    description="A SALMUBench release.",
    features=tfds.features.FeaturesDict(
      {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "text": text(),
        "generic": text(),
        "identity_id": text(),
        "file_name": text(),
      }
    ),
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
  for number, row in enumerate(release_lib.rows(release, split)):
    where = f"row {number} ({row['file_name']!r}) of split {split!r} in {release.path}"
    images.decode(row["image"], where)
    if not row["text"]:
      raise InputError(f"The text of {where} is empty; every row needs a caption.")
    yield {**row, "generic": release.generic.get(row["file_name"], "")}
    on_row()


def _used(release):
  """Splits that something reads; TFDS knows no split without rows."""
  return [split for split in release_lib.USED_SPLITS if release.counts.get(split)]
