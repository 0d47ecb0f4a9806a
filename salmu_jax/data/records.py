"""A release as ArrayRecord, through TFDS and without TensorFlow: random access by row number."""

import contextlib
import io
import pathlib
import shutil

import tensorflow_datasets as tfds

from salmu_jax import files
from salmu_jax.data import images
from salmu_jax.data import release as release_lib
from salmu_jax.errors import InputError

DONE = "built_from.json"


class Salmu(tfds.core.GeneratorBasedBuilder):
  """The rows of a release in their order, with the generic caption beside the private one."""

  VERSION = tfds.core.Version("1.0.0")

  def __init__(self, *, release, on_row=None, **kwargs):
    self._release = release
    self._on_row = on_row or (lambda: None)
    super().__init__(file_format="array_record", **kwargs)

  def _info(self):
    text = tfds.features.Text
    return tfds.core.DatasetInfo(
      builder=self,
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

  def _split_generators(self, dl_manager):
    del dl_manager
    return {split: self._generate_examples(split) for split in _used(self._release)}

  def _generate_examples(self, split):
    # TFDS sorts by key, a large split in buckets that cut 128 bits evenly: keys are spread over
    # them, so that one bucket at a time is in memory and not the split.
    apart = 2**128 // max(1, self._release.counts[split])
    for number, row in enumerate(release_lib.rows(self._release, split)):
      where = f"row {number} ({row['file_name']!r}) of split {split!r} in {self._release.path}"
      images.decode(row["image"], where)
      if not row["text"]:
        raise InputError(f"The text of {where} is empty; every row needs a caption.")
      row["generic"] = self._release.generic.get(row["file_name"], "")
      self._on_row()
      yield number * apart, row


def build(release, folder, on_row=None):
  """Writes the records unless they are there; every image is decoded once as a check.

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
  mark = folder / DONE
  if not mark.exists() or files.read_json(mark) != release.digest:
    release_lib.verify(release)
    shards = [file for split in _used(release) for file in release.shards[split]]
    size = sum(file.stat().st_size for file in shards)
    files.require_space(folder, 2 * size, "the ArrayRecord files")
    shutil.rmtree(folder, ignore_errors=True)
    builder = Salmu(release=release, data_dir=str(folder), on_row=on_row)
    tfds.disable_progress_bar()
    # TFDS announces a download on stdout, of which there is none.
    with contextlib.redirect_stdout(io.StringIO()):
      builder.download_and_prepare()
    files.write_json(mark, release.digest)
  builder = Salmu(release=release, data_dir=str(folder))
  skip = {"image": tfds.decode.SkipDecoding()}
  return {split: builder.as_data_source(split, decoders=skip) for split in _used(release)}


def rows(release):
  """How many rows `build` reads."""
  return sum(release.counts[split] for split in _used(release))


def _used(release):
  return [split for split in release.shards if split in release_lib.USED_SPLITS]
