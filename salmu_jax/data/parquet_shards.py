"""Parquet shards of a release: found by name, checked by column, hashed once."""

import contextlib
import pathlib
import re
from collections.abc import Iterator, Sequence

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


def find(path: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """{split: its files, in the order of their names} of the release in a directory.

  Raises:
    InputError: there is no data/, a file is not named like a shard, or a shard is missing.
  """
  if not (path / "data").is_dir():
    raise InputError(
      f"{path} is not a release: it has no folder data/. config.release must name a directory in "
      "the published format, or hub:OWNER/NAME, or be empty to generate one."
    )
  numbered = {}
  for file in sorted((path / "data").glob("*.parquet")):
    match = _SHARD.fullmatch(file.name)
    if not match:
      raise InputError(f"{file} is not named {{split}}-00000-of-00000.parquet, as shards are.")
    shard = int(match["index"]), int(match["count"]), file
    numbered.setdefault(match["split"], []).append(shard)
  for split, shards in numbered.items():
    count = shards[0][1]
    absent = sorted(set(range(count)) - {index for index, _, _ in shards})
    if absent:
      name = f"{split}-{absent[0]:05d}-of-{count:05d}.parquet"
      raise InputError(f"The release {path} lacks the shard data/{name}. Restore it.")
  return {split: [file for _, _, file in shards] for split, shards in numbered.items()}


@contextlib.contextmanager
def reading(file: pathlib.Path) -> Iterator[None]:
  """Turns a read error of pyarrow into an InputError that names the shard."""
  try:
    yield
  except (pa.ArrowException, OSError) as error:
    raise InputError(
      f"{file} is truncated, damaged or not a parquet file ({error}). Restore it from its source, "
      "or delete the release to have it generated again."
    ) from error


def row_count(file: pathlib.Path) -> int:
  """The number of rows of a shard."""
  with reading(file), pq.ParquetFile(file) as parquet:
    return parquet.metadata.num_rows


def check_columns(file: pathlib.Path) -> None:
  """Raises InputError for a column of SCHEMA that is missing or of another type."""
  with reading(file), pq.ParquetFile(file) as parquet:
    schema = parquet.schema_arrow
  for field in SCHEMA:
    if field.name not in schema.names:
      raise InputError(f"{file} has no column {field.name!r}; it has {sorted(schema.names)}.")
    column_type = schema.field(field.name).type
    if not _reads_as(column_type, field.type):
      raise InputError(
        f"The column {field.name!r} of {file} holds {column_type}; it must hold {field.type}."
      )


def _reads_as(column_type, expected):
  """Whether pyarrow gives values of `column_type` as it gives those of type `expected`."""
  if pa.types.is_null(column_type):
    return pa.types.is_string(expected)
  if pa.types.is_struct(expected):
    return pa.types.is_struct(column_type) and any(
      field.name == "bytes"
      and (pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type))
      for field in column_type
    )
  if pa.types.is_dictionary(column_type):
    column_type = column_type.value_type
  return pa.types.is_string(column_type) or pa.types.is_large_string(column_type)


def hashes(paths: Sequence[pathlib.Path], cache: pathlib.Path | None) -> dict[pathlib.Path, str]:
  """{file: SHA-256}; a file that has not changed since `cache` was written is not read again.

  Args:
    paths: the files.
    cache: a JSON file that keeps the hashes by path, size and time of change; or None.
  """
  before = files.read_json(cache) if cache and cache.exists() else {}
  now = {}
  with progress.counting("hashing the release", len(paths)) as tick:
    for path in paths:
      status = path.stat()
      stamp = [status.st_size, status.st_mtime_ns]
      *old_stamp, digest = before.get(str(path), [None])
      now[str(path)] = [*stamp, digest if old_stamp == stamp else files.sha256(path)]
      tick()
  if cache and now != before:
    files.write_json(cache, now)
  return {path: now[str(path)][-1] for path in paths}
