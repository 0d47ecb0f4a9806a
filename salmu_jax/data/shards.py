"""Parquet shards of a release: found by name, checked by column, hashed once."""

import contextlib
import re

import pyarrow as pa
import pyarrow.parquet as pq

from salmu_jax.errors import InputError
from salmu_jax.runtime import files, progress

SCHEMA = pa.schema(
  [
    ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ("text", pa.string()),
    ("identity_id", pa.string()),
    ("file_name", pa.string()),
  ]
)
_SHARD = re.compile(r"(?P<split>\w+)-(?P<index>\d{5,})-of-(?P<count>\d{5,})(-[0-9a-f]+)?\.parquet")


def find(path):
  """{split: its files, in the order of their names}; a gap in the numbering is an error.

  Args:
    path: the directory of a release.
  """
  if not (path / "data").is_dir():
    raise InputError(
      f"{path} is not a release: it has no folder data/. config.release must name a directory in "
      "the published format, or hub:OWNER/NAME, or be empty to generate one."
    )
  found = {}
  for file in sorted((path / "data").glob("*.parquet")):
    match = _SHARD.fullmatch(file.name)
    if not match:
      raise InputError(f"{file} is not named {{split}}-00000-of-00000.parquet, as shards are.")
    found.setdefault(match["split"], []).append((int(match["index"]), int(match["count"]), file))
  for split, shards in found.items():
    count = shards[0][1]
    absent = sorted(set(range(count)) - {index for index, _, _ in shards})
    if absent:
      name = f"{split}-{absent[0]:05d}-of-{count:05d}.parquet"
      raise InputError(f"The release {path} lacks the shard data/{name}. Restore it.")
  return {split: [file for _, _, file in shards] for split, shards in found.items()}


@contextlib.contextmanager
def reading(file):
  """Names the shard whose content pyarrow cannot read."""
  try:
    yield
  except (pa.ArrowException, OSError) as error:
    raise InputError(
      f"{file} is truncated, damaged or not a parquet file ({error}). Restore it from its source, "
      "or delete the release to have it generated again."
    ) from error


def rows_of(file):
  """Number of rows of a shard."""
  with reading(file), pq.ParquetFile(file) as parquet:
    return parquet.metadata.num_rows


def check_columns(file):
  """Raises InputError for a column of SCHEMA that is missing or holds something else."""
  with reading(file), pq.ParquetFile(file) as parquet:
    found = parquet.schema_arrow
  for field in SCHEMA:
    if field.name not in found.names:
      raise InputError(f"{file} has no column {field.name!r}; it has {sorted(found.names)}.")
    theirs = found.field(field.name).type
    if not _reads_as(theirs, field.type):
      raise InputError(
        f"The column {field.name!r} of {file} holds {theirs}; it must hold {field.type}."
      )


def _reads_as(found, expected):
  """Whether values of type `found` come out of pyarrow as those of `expected` would."""
  if pa.types.is_null(found):
    return pa.types.is_string(expected)
  if pa.types.is_struct(expected):
    return pa.types.is_struct(found) and any(
      field.name == "bytes"
      and (pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type))
      for field in found
    )
  if pa.types.is_dictionary(found):
    found = found.value_type
  return pa.types.is_string(found) or pa.types.is_large_string(found)


def hashes(listed, known):
  """{file: SHA-256} of the files `listed`; what `known` holds of unchanged files is not read again.

  Args:
    listed: paths.
    known: a JSON file to keep the hashes in, by path, size and time of change; or None.
  """
  before = files.read_json(known) if known and known.exists() else {}
  now = {}
  with progress.counting("hashing the release", len(listed)) as tick:
    for file in listed:
      about = file.stat()
      stamp = [about.st_size, about.st_mtime_ns]
      *old, digest = before.get(str(file), [None])
      now[str(file)] = [*stamp, digest if old == stamp else files.sha256(file)]
      tick()
  if known and now != before:
    files.write_json(known, now)
  return {file: now[str(file)][-1] for file in listed}
