"""Image-text pairs by the million as ArrayRecord: an Apache Beam pipeline over tars or parquet.

It runs on this machine, or on Flink, Spark or Dataflow, as the options for Beam say. TFDS lays out
the records, in an order that depends on keys alone, so that the same files give the same records
however many workers there are. Needs requirements-beam.txt; reading what it wrote does not, see
`salmu_jax.data.records.open_pairs`.
"""

import hashlib
import io
import json
import os
import tarfile

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_datasets as tfds
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from etils import epath
from PIL import Image

from salmu_jax.data import images, records
from salmu_jax.errors import InputError

IMAGES, CAPTION, ABOUT = ("jpg", "jpeg", "png", "webp", "image"), ("txt", "caption", "text"), "json"
KEYS = ("key", "file_name")
_QUALITY = 95


class Pairs(tfds.core.GeneratorBasedBuilder):
  """TFDS builder of one split `retain_real`; `source` is set by `convert`."""

  name = records.PAIRS
  VERSION = tfds.core.Version(records.VERSION)
  source = None

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
    # None for a row that is kept.
    reasons = rows | "Reasons" >> beam.Map(lambda row: row[2]) | beam.combiners.Count.PerElement()
    judge = beam.Map(judge_counts, counts, max_skipped, beam.pvalue.AsSingleton(content))
    _ = reasons | beam.combiners.ToList() | "Judge" >> judge
    return kept | "Examples" >> beam.Map(lambda row: (row[0], row[1]))


def convert(patterns, output, *, image_size, max_skipped=0.01, shard_mib=256, options=()):
  """Writes pairs as records under `output`.

  Args:
    patterns: files or globs of .tar (webdataset, as img2dataset writes it) or .parquet; local, or
      on any file system that Beam knows.
    output: a folder that does not hold pairs yet.
    image_size: pixels that the shorter side of a larger picture is shrunk to; 0 leaves all as they
      are.
    max_skipped: the largest share of rows that may be unreadable.
    shard_mib: size of a file of records, at most.
    options: for Beam, such as "--runner=FlinkRunner".

  Returns:
    {"kept": rows, "skipped": {reason: rows}, "digest": of the content}, also in output/counts.json.

  Raises:
    InputError: nothing matches, files that cannot be told apart, too many unreadable rows (says
      which reasons), or `output` holds pairs already.
  """
  output = epath.Path(output)
  files = _matching(patterns)
  if (output / records.PAIRS / records.VERSION / "dataset_info.json").exists():
    raise InputError(f"{output} holds pairs already. Choose another --output, or delete it.")
  builder = Pairs(data_dir=os.fspath(output), file_format="array_record")
  builder.source = files, image_size, os.fspath(output / records.COUNTS), max_skipped
  config = tfds.download.DownloadConfig(
    beam_options=PipelineOptions(list(options)),
    max_shard_size=shard_mib * 2**20,
    min_shard_size=min(64, shard_mib) * 2**20,
  )
  # TFDS makes a folder for downloads, whether there are any or not.
  (output / records.COUNTS).unlink(missing_ok=True)
  downloads = output / "downloads"
  downloads.mkdir(parents=True, exist_ok=True)
  try:
    builder.download_and_prepare(download_dir=downloads, download_config=config)
  except Exception as error:
    _explain(output / records.COUNTS, max_skipped, error)
    raise
  finally:
    downloads.rmtree()
  return json.loads((output / records.COUNTS).read_text())


def _matching(patterns):
  found = [[m.path for m in match.metadata_list] for match in FileSystems.match(list(patterns))]
  for pattern, paths in zip(patterns, found, strict=True):
    if not paths:
      raise InputError(f"No file matches {pattern!r}.")
  files = sorted({path for paths in found for path in paths})
  names = {}
  for path in files:
    if not path.endswith((".tar", ".parquet")):
      raise InputError(f"{path} is neither a .tar nor a .parquet file.")
    other = names.setdefault(os.path.basename(path), path)
    if other != path:
      raise InputError(
        f"{other} and {path} have the same name, which the keys of their rows start with. Rename "
        "one."
      )
  return files


def _explain(counts, max_skipped, error):
  """Raises InputError where it was too many skipped rows that ended the pipeline."""
  if not counts.exists():
    return
  found = json.loads(counts.read_text())
  if _too_many_skipped(found, max_skipped):
    skipped = sum(found["skipped"].values())
    total = skipped + found["kept"]
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(found["skipped"].items()))
    raise InputError(
      f"{skipped} of {total} rows cannot be used, more than --max_skipped={max_skipped:g} of them: "
      f"{reasons}. Nothing was written but {counts}. Mend the files, or allow more."
    ) from error


def _too_many_skipped(found, max_skipped):
  """Whether counts as `judge_counts` writes them are to end the pipeline; so does nothing at
  all.
  """
  skipped = sum(found["skipped"].values())
  return skipped > max_skipped * (found["kept"] + skipped) or not found["kept"]


def fingerprint(row):
  """An integer for a row; their sum, in any order, names the content."""
  _, found, _ = row
  parts = (found["file_name"].encode(), found["text"].encode(), found["image"])
  joined = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
  return int.from_bytes(hashlib.sha256(joined).digest()[:16], "big")


def judge_counts(reasons, path, max_skipped, content):
  """Writes how many rows were kept and skipped, and why; ends the pipeline where too many were."""
  skipped = {reason: number for reason, number in reasons if reason is not None}
  kept = dict(reasons).get(None, 0)
  found = {"kept": kept, "skipped": skipped, "digest": f"{content % 2**128:032x}"}
  epath.Path(path).write_text(json.dumps(found, indent=1) + "\n")
  if _too_many_skipped(found, max_skipped):
    raise ValueError("too many rows cannot be used")


def read_file(path):
  """Yields (key, {part: bytes or str}) of a file; one it cannot read to its end gives a row of
  no parts.
  """
  name = os.path.basename(path)
  read = _tar_samples if path.endswith(".tar") else _parquet_samples
  done = 0
  with FileSystems.open(path, compression_type="uncompressed") as file:
    try:
      for key, parts in read(file):
        yield f"{name}/{key}", parts
        done += 1
    # A damaged page of parquet is a plain OSError.
    except (tarfile.TarError, pa.ArrowException, EOFError, OSError) as error:
      yield f"{name}/{done}", {"broken": type(error).__name__}


class BrokenHeader(tarfile.TarError):
  """A header that is none, where a tar does not end."""


class _Member(tarfile.TarInfo):
  """A member whose header must be right: tarfile takes a damaged one for the end."""

  @classmethod
  def fromtarfile(cls, tar):
    try:
      return super().fromtarfile(tar)
    except tarfile.EOFHeaderError:
      raise
    except tarfile.HeaderError as error:
      raise BrokenHeader(str(error)) from error


def _tar_samples(file):
  """Samples of a webdataset: neighbours of one name, whose parts the rest of their names says."""
  key, parts = None, {}
  with tarfile.open(fileobj=file, mode="r|*", tarinfo=_Member) as tar:
    for member in tar:
      if not member.isfile():
        continue
      folder, name = os.path.split(member.name)
      stem, _, kind = name.partition(".")
      here = os.path.join(folder, stem)
      if key is not None and here != key:
        yield key, parts
        parts = {}
      key = here
      parts[kind.lower()] = tar.extractfile(member).read()
  if key is not None:
    yield key, parts


def _parquet_samples(file):
  with pq.ParquetFile(pa.PythonFile(file, mode="r")) as parquet:
    number = 0
    for batch in parquet.iter_batches(batch_size=64):
      for row in batch.to_pylist():
        # With its number, for nobody promises that keys differ.
        key = f"{number:09d}_" + next((str(row[k]) for k in KEYS if row.get(k)), "")
        image = row.get("image")
        if isinstance(image, dict):
          row["image"] = image.get("bytes")
        yield key, row
        number += 1


def check_row(sample, image_size):
  """Yields (key, row as `records.features` has it or None, None or why it is skipped)."""
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
  text = next((parts[kind] for kind in CAPTION if parts.get(kind)), None)
  if text is None and parts.get(ABOUT):
    try:
      text = json.loads(parts[ABOUT]).get("caption")
    except (ValueError, AttributeError):
      return None
  if isinstance(text, bytes):
    text = text.decode("utf-8", errors="replace")
  return text.strip() if isinstance(text, str) else None


def shrunk(data, size):
  """Encoded bytes whose picture's shorter side is at most `size`; as they are where it is.

  Raises:
    InputError: no picture.
  """
  image = images.decode(data, "a row")
  shorter = min(image.size)
  if not size or shorter <= size:
    return data
  new = [max(size, round(side * size / shorter)) for side in image.size]
  out = io.BytesIO()
  image.resize(new, Image.Resampling.BICUBIC).save(out, "JPEG", quality=_QUALITY)
  return out.getvalue()
