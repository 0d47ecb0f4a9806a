"""Millions of image-text pairs as ArrayRecord: an Apache Beam pipeline over tars or parquet.

Beam's options choose the runner: this machine, Flink, Spark or Dataflow. TFDS orders the records by
their keys alone, so the same files give the same records for any number of workers. Writing needs
requirements-beam.txt; reading (`salmu_jax.data.records.open_pairs`) does not.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import apache_beam as beam
import tensorflow_datasets as tfds
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.typehints.decorators import no_annotations
from etils import epath

from salmu_jax.data import beam_output, records, samples
from salmu_jax.errors import InputError
from salmu_jax.runtime import places

_LISTED = 3  # broken files that an error lists
# TFDS's message when no row is kept.
_NOTHING = "number of generated examples is 0"

# The steps of the pipeline are marked `no_annotations`: Beam would take its coders from their type
# hints, and its coder of int holds 64 bits, fewer than a fingerprint.


class Limits(NamedTuple):
  """How much of the input may be unusable.

  skipped: maximum share of unusable rows. broken: whether files may be broken.
  """

  skipped: float
  broken: bool


class Pairs(tfds.core.GeneratorBasedBuilder):
  """TFDS builder of one split, `retain_real`.

  Attributes:
    source: (files, image size, path of the counts, `Limits`), set by `convert`.
  """

  name: str = records.PAIRS
  VERSION: tfds.core.Version = tfds.core.Version(records.VERSION)
  source: tuple[list[str], int, str, "Limits"] | None = None

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self, description="Image-text pairs.", features=records.features()
    )

  def _split_generators(self, dl_manager, pipeline):
    del dl_manager
    return {records.PAIRS_SPLIT: self._generate_examples(pipeline)}

  def _generate_examples(self, pipeline):
    kept = _counted_rows(pipeline, self.source)
    return kept | "Examples" >> beam.Map(lambda row: (row[0], row[1]))


def _counted_rows(pipeline, source):
  """The rows that are kept, as a part of a pipeline that also counts and checks all rows."""
  files, image_size, counts, limits = source
  rows = (
    pipeline
    | beam.Create(files)
    | beam.Reshuffle()
    | "Read" >> beam.FlatMap(samples.read_file)
    | "Check" >> beam.FlatMap(samples.check_row, image_size)
  )
  kept = rows | beam.Filter(lambda row: row[2] is None)
  content = kept | "Fingerprints" >> beam.Map(fingerprint) | beam.CombineGlobally(sum)
  # The reason of a kept row is None.
  reasons = rows | "Reasons" >> beam.Map(lambda row: row[2]) | beam.combiners.Count.PerElement()
  counting = beam.Map(write_counts, counts, limits, beam.pvalue.AsSingleton(content))
  _ = reasons | beam.combiners.ToList() | "Write counts" >> counting
  return kept


def convert(
  patterns: Iterable[str],
  output: str | os.PathLike,
  *,
  image_size: int,
  max_skipped: float = 0.01,
  allow_broken: bool = False,
  shard_mib: int = 256,
  options: Sequence[str] = (),
) -> dict:
  """Writes pairs as records under `output`.

  Args:
    patterns: files or globs of .tar (webdataset, as img2dataset writes it) or .parquet, on any
      file system that Beam knows.
    output: a folder without pairs, on a disk or in a bucket.
    image_size: images with a longer shorter side are shrunk to this many pixels; 0 shrinks none.
    max_skipped: maximum share of unreadable rows.
    allow_broken: whether truncated or damaged files are read up to the damage.
    shard_mib: maximum size of a file of records, MiB.
    options: for Beam, such as "--runner=FlinkRunner".

  Returns:
    {"kept": rows, "skipped": {reason: rows}, "broken": [file and how far it was read],
    "digest": of the content}, also in output/counts.json.

  Raises:
    InputError: an option is out of range, no file matches, two files have the same name, a file is
      broken, too many rows are unreadable (names the reasons), or `output` holds pairs already.
    UnwritableError: `output` cannot be written.
  """
  _check_options(image_size, max_skipped, shard_mib)
  place = places.folder(output, "--output")
  files = _matching(patterns)
  if (place / records.PAIRS / records.VERSION / "dataset_info.json").exists():
    raise InputError(f"{place} already holds pairs. Choose another --output, or delete it.")
  output = beam_output.folder(place, options)
  builder = Pairs(data_dir=os.fspath(output), file_format="array_record")
  limits = Limits(max_skipped, allow_broken)
  builder.source = files, image_size, os.fspath(output / records.COUNTS), limits
  config = tfds.download.DownloadConfig(
    beam_options=PipelineOptions(list(options)),
    max_shard_size=shard_mib * 2**20,
    min_shard_size=min(64, shard_mib) * 2**20,
  )
  _write(builder, output, config)
  beam_output.send(place)
  return json.loads((output / records.COUNTS).read_text())


def _check_options(image_size, max_skipped, shard_mib):
  if image_size < 0:
    raise InputError(f"--image_size={image_size}; it must be a number of pixels, or 0 for any.")
  if not 0 <= max_skipped <= 1:
    raise InputError(f"--max_skipped={max_skipped:g}; it must be a share from 0 to 1.")
  if shard_mib < 1:
    raise InputError(f"--shard_mib={shard_mib}; it must be 1 or more.")


def _write(builder, output, config):
  """Runs the pipeline."""
  # TFDS wants a folder for downloads even without any.
  downloads = output / "downloads"
  with places.writing(output):
    downloads.mkdir(parents=True, exist_ok=True)
    (output / records.COUNTS).unlink(missing_ok=True)
  try:
    with _quiet_beam():
      builder.download_and_prepare(download_dir=downloads, download_config=config)
  except OSError as error:
    raise places.unwritable(output, error) from error
  except Exception as error:  # Beam changes the type of a step's error.
    if _NOTHING in str(error) and not (output / records.COUNTS).exists():
      _count(builder.source, config.beam_options)
    _check_counts(output / records.COUNTS, builder.source[-1], error)
    raise
  finally:
    shutil.rmtree(downloads)


@contextlib.contextmanager
def _quiet_beam():
  """Keeps Beam from printing the traceback of an error that is reported here."""
  logger = logging.getLogger("apache_beam")
  before = logger.level
  logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    logger.setLevel(before)


def _count(source, options):
  """Writes the counts when no row is kept: TFDS may fail before they are written."""
  with contextlib.suppress(Exception), _quiet_beam():  # It fails as the whole pipeline did.
    with beam.Pipeline(options=options) as pipeline:
      _counted_rows(pipeline, source)


def _matching(patterns):
  """The matching files, sorted; refuses files of another type, or of the same name."""
  try:
    listed = FileSystems.match(list(patterns))
  except (BeamIOError, ValueError, OSError) as error:  # ValueError: an unknown scheme
    raise InputError(f"{', '.join(patterns)} cannot be listed ({error}).") from error
  matches = [[match.path for match in result.metadata_list] for result in listed]
  for pattern, paths in zip(patterns, matches, strict=True):
    if not paths:
      raise InputError(f"No file matches {pattern!r}.")
  files = sorted({path for paths in matches for path in paths})
  names = {}
  for path in files:
    if not path.endswith((".tar", ".parquet")):
      raise InputError(f"{path} is neither a .tar nor a .parquet file.")
    other = names.setdefault(os.path.basename(path), path)
    if other != path:
      raise InputError(
        f"{other} and {path} have the same file name, which starts the keys of their rows. Rename "
        "one of them."
      )
  return files


def _check_counts(path, limits, error):
  """Raises InputError if the pipeline ended because of the counts."""
  if not path.exists():
    return
  reason = _reason_against(json.loads(path.read_text()), limits)
  if reason:
    raise InputError(f"{reason} Only {path} was written.") from error


def _reason_against(counts, limits):
  """Why the pipeline must stop after these counts, with advice; or ""."""
  broken, skipped = counts["broken"], sum(counts["skipped"].values())
  total = skipped + counts["kept"]
  reasons = ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(counts["skipped"].items()))
  if broken and not limits.broken:
    more = f" and {len(broken) - _LISTED} more" if len(broken) > _LISTED else ""
    return (
      f"Truncated or damaged: {'; '.join(broken[:_LISTED])}{more}. Restore these files from their "
      "source, or read them up to the damage with --allow_broken."
    )
  if not counts["kept"]:
    pictures, captions = ", ".join(samples.IMAGES), ", ".join(samples.CAPTIONS)
    return (
      f"None of the {total:,} rows can be used{f': {reasons}' if reasons else ''}. A row needs an "
      f"image ({pictures}) and a caption ({captions}) with the same key."
    )
  if skipped > limits.skipped * total:
    return (
      f"{skipped:,} of {total:,} rows cannot be used, more than --max_skipped={limits.skipped:g} "
      f"allows: {reasons}. Repair the files, or raise --max_skipped."
    )
  return ""


@no_annotations
def fingerprint(checked: samples.CheckedRow) -> int:
  """An integer for a kept row; the sum over all rows identifies the content in any order."""
  _, row, _ = checked
  parts = (row["file_name"].encode(), row["text"].encode(), row["image"])
  joined = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
  return int.from_bytes(hashlib.sha256(joined).digest()[:16], "big")


@no_annotations
def write_counts(
  reasons: Iterable[tuple[str | None, int]], path: str, limits: Limits, content: int
) -> None:
  """Writes how many rows were kept and skipped, and why.

  Args:
    reasons: (why rows were skipped, number of rows); the reason of kept rows is None.
    path: the JSON file to write.
    limits: how much may be unusable.
    content: sum of the rows' fingerprints.

  Raises:
    ValueError: too much is unusable. It ends the pipeline.
  """
  rows_of = dict(reasons)
  kept = rows_of.pop(None, 0)
  broken = {reason for reason in rows_of if reason.startswith(samples.BROKEN)}
  counts = {
    "kept": kept,
    "skipped": {reason: rows for reason, rows in rows_of.items() if reason not in broken},
    "broken": sorted(reason.removeprefix(samples.BROKEN) for reason in broken),
    "digest": f"{content % 2**128:032x}",
  }
  epath.Path(path).write_text(json.dumps(counts, indent=1) + "\n")
  if _reason_against(counts, limits):
    raise ValueError("too many rows cannot be used")
