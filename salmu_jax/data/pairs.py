"""Image-text pairs by the million as ArrayRecord: an Apache Beam pipeline over tars or parquet.

Beam's options choose the runner: this machine, Flink, Spark or Dataflow. TFDS orders the records by
their keys alone, so the same files give the same records for any number of workers. Writing needs
requirements-beam.txt; reading (`salmu_jax.data.records.open_pairs`) does not.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_datasets as tfds
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.typehints.decorators import no_annotations
from etils import epath
from PIL import Image

from salmu_jax.data import beam_output, images, records
from salmu_jax.errors import InputError
from salmu_jax.runtime import places

# Parts of a sample that hold its picture, its caption and its key, by preference.
IMAGES = ("jpg", "jpeg", "png", "webp", "image")
CAPTIONS = ("txt", "caption", "text")
KEYS = ("key", "file_name")
METADATA = "json"  # its "caption" is taken if no other part is a caption
_QUALITY = 95

# One sample of a file, {part: content}; one checked row: (key, row or None, reason or None).
Parts = Mapping[str, bytes | str]
CheckedRow = tuple[str, dict | None, str | None]

# The steps of the pipeline are marked `no_annotations`: Beam would take its coders from their type
# hints, and its coder of int holds 64 bits, fewer than a fingerprint.


class Pairs(tfds.core.GeneratorBasedBuilder):
  """TFDS builder of one split, `retain_real`.

  Attributes:
    source: (files, image size, path of the counts, largest share skipped), set by `convert`.
  """

  name: str = records.PAIRS
  VERSION: tfds.core.Version = tfds.core.Version(records.VERSION)
  source: tuple[list[str], int, str, float] | None = None

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self, description="Image-text pairs.", features=records.features()
    )

  def _split_generators(self, dl_manager, pipeline):
    del dl_manager
    return {records.PAIRS_SPLIT: self._generate_examples(pipeline)}

  def _generate_examples(self, pipeline):
    files, image_size, counts, max_skipped = self.source
    rows = (
      pipeline
      | beam.Create(files)
      | beam.Reshuffle()
      | "Read" >> beam.FlatMap(read_file)
      | "Check" >> beam.FlatMap(check_row, image_size)
    )
    kept = rows | beam.Filter(lambda row: row[2] is None)
    content = kept | "Fingerprints" >> beam.Map(fingerprint) | beam.CombineGlobally(sum)
    # The reason of a kept row is None.
    reasons = rows | "Reasons" >> beam.Map(lambda row: row[2]) | beam.combiners.Count.PerElement()
    counting = beam.Map(write_counts, counts, max_skipped, beam.pvalue.AsSingleton(content))
    _ = reasons | beam.combiners.ToList() | "Write counts" >> counting
    return kept | "Examples" >> beam.Map(lambda row: (row[0], row[1]))


def convert(
  patterns: Iterable[str],
  output: str | os.PathLike,
  *,
  image_size: int,
  max_skipped: float = 0.01,
  shard_mib: int = 256,
  options: Sequence[str] = (),
) -> dict:
  """Writes pairs as records under `output`.

  Args:
    patterns: files or globs of .tar (webdataset, as img2dataset writes it) or .parquet, on any
      file system that Beam knows.
    output: a folder without pairs, on a disk or in a bucket.
    image_size: a larger picture's shorter side is shrunk to as many pixels; 0 shrinks nothing.
    max_skipped: the largest share of rows that may be unreadable.
    shard_mib: largest size of a file of records, MiB.
    options: for Beam, such as "--runner=FlinkRunner".

  Returns:
    {"kept": rows, "skipped": {reason: rows}, "digest": of the content}, also in output/counts.json.

  Raises:
    InputError: no file matches, two files have the same name, too many rows are unreadable (names
      the reasons), or `output` holds pairs already.
  """
  place = places.place(output, "--output")
  files = _matching(patterns)
  if (place / records.PAIRS / records.VERSION / "dataset_info.json").exists():
    raise InputError(f"{place} holds pairs already. Choose another --output, or delete it.")
  output = beam_output.folder(place, options)
  builder = Pairs(data_dir=os.fspath(output), file_format="array_record")
  builder.source = files, image_size, os.fspath(output / records.COUNTS), max_skipped
  config = tfds.download.DownloadConfig(
    beam_options=PipelineOptions(list(options)),
    max_shard_size=shard_mib * 2**20,
    min_shard_size=min(64, shard_mib) * 2**20,
  )
  _write(builder, output, config)
  beam_output.send(place)
  return json.loads((output / records.COUNTS).read_text())


def _write(builder, output, config):
  """Runs the pipeline."""
  (output / records.COUNTS).unlink(missing_ok=True)
  # TFDS wants a folder for downloads even without any.
  downloads = output / "downloads"
  downloads.mkdir(parents=True, exist_ok=True)
  try:
    builder.download_and_prepare(download_dir=downloads, download_config=config)
  except Exception as error:
    _check_skipped(output / records.COUNTS, builder.source[-1], error)
    raise
  finally:
    shutil.rmtree(downloads)


def _matching(patterns):
  """The files that match, sorted; refuses any that are of no use, or of the same name."""
  matches = [[m.path for m in match.metadata_list] for match in FileSystems.match(list(patterns))]
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
        f"{other} and {path} have the same name, and the keys of their rows start with it. Rename "
        "one."
      )
  return files


def _check_skipped(path, max_skipped, error):
  """Raises InputError if the pipeline ended because too many rows were skipped."""
  if not path.exists():
    return
  counts = json.loads(path.read_text())
  if _too_many_skipped(counts, max_skipped):
    skipped = sum(counts["skipped"].values())
    total = skipped + counts["kept"]
    reasons = ", ".join(f"{rows} {reason}" for reason, rows in sorted(counts["skipped"].items()))
    raise InputError(
      f"{skipped} of {total} rows cannot be used, more than --max_skipped={max_skipped:g} of them: "
      f"{reasons}. Nothing was written but {path}. Mend the files, or allow more."
    ) from error


def _too_many_skipped(counts, max_skipped):
  """Whether the counts of `write_counts` end the pipeline: too many skipped, or none kept."""
  skipped = sum(counts["skipped"].values())
  return skipped > max_skipped * (counts["kept"] + skipped) or not counts["kept"]


@no_annotations
def fingerprint(checked: CheckedRow) -> int:
  """An integer for a kept row; the sum over all rows identifies the content in any order."""
  _, row, _ = checked
  parts = (row["file_name"].encode(), row["text"].encode(), row["image"])
  joined = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
  return int.from_bytes(hashlib.sha256(joined).digest()[:16], "big")


@no_annotations
def write_counts(
  reasons: Iterable[tuple[str | None, int]], path: str, max_skipped: float, content: int
) -> None:
  """Writes how many rows were kept and skipped, and why.

  Args:
    reasons: (why rows were skipped, how many were); the reason None is of the kept rows.
    path: the JSON file to write.
    max_skipped: the largest share of rows that may be skipped.
    content: sum of the rows' fingerprints.

  Raises:
    ValueError: too many rows were skipped. It ends the pipeline.
  """
  skipped = {reason: rows for reason, rows in reasons if reason is not None}
  kept = dict(reasons).get(None, 0)
  counts = {"kept": kept, "skipped": skipped, "digest": f"{content % 2**128:032x}"}
  epath.Path(path).write_text(json.dumps(counts, indent=1) + "\n")
  if _too_many_skipped(counts, max_skipped):
    raise ValueError("too many rows cannot be used")


@no_annotations
def read_file(path: str) -> Iterator[tuple[str, Parts]]:
  """Yields (key, {part: content}) of a file; a damaged file ends in {"broken": the error}."""
  name = os.path.basename(path)
  read_samples = _tar_samples if path.endswith(".tar") else _parquet_samples
  count = 0
  with FileSystems.open(path, compression_type="uncompressed") as file:
    try:
      for key, parts in read_samples(file):
        yield f"{name}/{key}", parts
        count += 1
    # A damaged page of parquet is a plain OSError.
    except (tarfile.TarError, pa.ArrowException, EOFError, OSError) as error:
      yield f"{name}/{count}", {"broken": type(error).__name__}


class BrokenHeader(tarfile.TarError):
  """A damaged header in the middle of a tar."""


class _Member(tarfile.TarInfo):
  """A member whose header must be valid: tarfile takes a damaged one for the end."""

  @classmethod
  def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
    try:
      return super().fromtarfile(tar)
    except tarfile.EOFHeaderError:
      raise
    except tarfile.HeaderError as error:
      raise BrokenHeader(str(error)) from error


def _tar_samples(file):
  """Samples of a webdataset: neighbouring members of one stem, each part named by its ending."""
  key, parts = None, {}
  with tarfile.open(fileobj=file, mode="r|*", tarinfo=_Member) as tar:
    for member in tar:
      if not member.isfile():
        continue
      folder, name = os.path.split(member.name)
      stem, _, kind = name.partition(".")
      sample = os.path.join(folder, stem)
      if key is not None and sample != key:
        yield key, parts
        parts = {}
      key = sample
      parts[kind.lower()] = tar.extractfile(member).read()
  if key is not None:
    yield key, parts


def _parquet_samples(file):
  with pq.ParquetFile(pa.PythonFile(file, mode="r")) as parquet:
    number = 0
    for batch in parquet.iter_batches(batch_size=64):
      for row in batch.to_pylist():
        # The number makes a key unique, which the column does not promise.
        key = f"{number:09d}_" + next((str(row[k]) for k in KEYS if row.get(k)), "")
        image = row.get("image")
        if isinstance(image, dict):
          row["image"] = image.get("bytes")
        yield key, row
        number += 1


@no_annotations
def check_row(sample: tuple[str, Parts], image_size: int) -> Iterator[CheckedRow]:
  """Yields (key, row of `records.features` or None, None or why the row is skipped)."""
  key, parts = sample
  row, reason = _row(key, parts, image_size)
  if reason:
    beam.metrics.Metrics.counter("pairs", reason).inc()
  yield key, row, reason


def _row(key, parts, image_size):
  if "broken" in parts:
    return None, f"from where a file is broken ({parts['broken']})"
  image = next((parts[kind] for kind in IMAGES if parts.get(kind)), None)
  if not image:
    return None, "without image"
  text = _caption(parts)
  if not text:
    return None, "without caption"
  try:
    image = shrunk(image, image_size)
  except InputError:
    return None, "whose image cannot be decoded"
  return {"image": image, "text": text, "generic": "", "identity_id": "", "file_name": key}, None


def _caption(parts):
  text = next((parts[kind] for kind in CAPTIONS if parts.get(kind)), None)
  if text is None and parts.get(METADATA):
    try:
      text = json.loads(parts[METADATA]).get("caption")
    except (ValueError, AttributeError):
      return None
  if isinstance(text, bytes):
    text = text.decode("utf-8", errors="replace")
  return text.strip() if isinstance(text, str) else None


def shrunk(data: bytes, size: int) -> bytes:
  """Encoded bytes of a picture whose shorter side is at most `size`, unchanged if it was already.

  Raises:
    InputError: the bytes are no picture.
  """
  image = images.decode(data, "a row")
  shorter = min(image.size)
  if not size or shorter <= size:
    return data
  sides = [max(size, round(side * size / shorter)) for side in image.size]
  encoded = io.BytesIO()
  image.resize(sides, Image.Resampling.BICUBIC).save(encoded, "JPEG", quality=_QUALITY)
  return encoded.getvalue()
