"""Parquet shards of a release: found by name, checked by column, hashed once."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from salmu_jax.errors import InputError
from salmu_jax.runtime import files, kept, places, progress

SCHEMA = pa.schema(
  [
    ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ("text", pa.string()),
    ("identity_id", pa.string()),
    ("file_name", pa.string()),
  ]
)
_SHARD = re.compile(
  r"(?P<split>\w+)-(?P<index>[0-9]{5,9})-of-(?P<count>[0-9]{5,9})(-[0-9a-f]+)?\.parquet"
)


def find(path: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """{split: its files, in the order of their names} of the release in a directory.

  Raises:
    InputError: there is no data/, a file is not named like a shard, a shard is missing, or a split
      has two sets of shards.
  """
  numbered = {}
  for name in _names(path):
    file, match = path / "data" / name, _SHARD.fullmatch(name)
    if not match:
      raise InputError(f"{file} is not named like a shard, {{split}}-00000-of-00001.parquet.")
    if not file.is_file():
      raise InputError(f"{file} is not a file. Restore the shard from its source.")
    shard = int(match["index"]), int(match["count"]), file
    numbered.setdefault(match["split"], []).append(shard)
  for split, shards in numbered.items():
    _check_set(path, split, shards)
  return {split: [file for _, _, file in shards] for split, shards in numbered.items()}


def _names(path):
  """The sorted names of the parquet files of a release."""
  try:
    names = os.listdir(path / "data")
  except (FileNotFoundError, NotADirectoryError) as error:
    raise InputError(
      f"{path} is not a release: it has no folder data/. config.release must name a directory in "
      "the published format, or hub:OWNER/NAME, or be empty to generate one."
    ) from error
  except (OSError, ValueError) as error:  # no permission, a name too long or with a null
    raise InputError(
      f"{path / 'data'} cannot be read ({places.reason(error)}). Name a release in config.release "
      "that this user may read."
    ) from error
  return sorted(name for name in names if name.endswith(".parquet"))


def _check_set(path, split, shards):
  """Raises InputError unless the shards of a split are one complete set."""
  first, count = shards[0][2].name, shards[0][1]
  other = next((file.name for _, total, file in shards if total != count), None)
  if other:
    raise InputError(
      f"The release {path} has two sets of shards of the split {split!r}: {first} and {other}. "
      "Remove one of them."
    )
  files_of = {}
  for index, _, file in shards:
    if index >= count:
      raise InputError(f"{file} is numbered {index} of {count}; numbers begin at 0. Rename it.")
    if index in files_of:
      raise InputError(
        f"The release {path} has the shard {index} of the split {split!r} twice: "
        f"{files_of[index]} and {file.name}. Remove one of them."
      )
    files_of[index] = file.name
  if len(files_of) < count:
    absent = next(index for index in range(count) if index not in files_of)
    name = f"{split}-{absent:05d}-of-{count:05d}.parquet"
    raise InputError(f"The release {path} lacks the shard data/{name}. Restore it.")


@contextlib.contextmanager
def reading(file: pathlib.Path) -> Iterator[None]:
  """Turns a read error of pyarrow into an InputError that names the shard."""
  try:
    yield
  except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
    reason = " ".join(str(error).split())
    raise InputError(
      f"{file} is truncated, damaged or not a parquet file ({reason}). Restore it from its source, "
      "or delete the release to generate it again."
    ) from error


def row_count(file: pathlib.Path) -> int:
  """The number of rows of a shard."""
  with reading(file), pq.ParquetFile(file) as parquet:
    return parquet.metadata.num_rows


def check_columns(file: pathlib.Path) -> None:
  """Raises InputError for a column of SCHEMA that is missing, duplicated, or of another type."""
  with reading(file), pq.ParquetFile(file) as parquet:
    schema = parquet.schema_arrow
    for field in SCHEMA:
      if field.name not in schema.names:
        raise InputError(f"{file} has no column {field.name!r}; it has {sorted(schema.names)}.")
      if schema.names.count(field.name) > 1:
        raise InputError(f"{file} has the column {field.name!r} twice. Drop one of them.")
      column_type = schema.field(field.name).type
      if not _reads_as(column_type, field.type):
        raise InputError(
          f"The column {field.name!r} of {file} holds {column_type}; it must hold {field.type}."
        )


def _reads_as(column_type, expected):
  """Whether pyarrow returns values of `column_type` like those of type `expected`."""
  if pa.types.is_null(column_type):
    return pa.types.is_string(expected)
  if pa.types.is_struct(expected):
    return pa.types.is_struct(column_type) and [
      _is_binary(field.type) for field in column_type if field.name == "bytes"
    ] == [True]
  if pa.types.is_dictionary(column_type):
    column_type = column_type.value_type
  return any(kind(column_type) for kind in _STRINGS)


_STRINGS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def _is_binary(kind):
  return any(
    is_kind(kind)
    for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
  )


def check_embedded(image: Mapping | None, file: pathlib.Path, row: int) -> None:
  """Raises InputError if the image of a row has no bytes.

  Args:
    image: {"bytes", "path"}, from pyarrow. file: of the row. row: its number there.
  """
  if image is None or image["bytes"] is None:
    path = image.get("path") if image else None
    there = f"only the path {path!r} is there" if path else "`image` is null"
    raise InputError(
      f"The image of row {row} of {file} is not embedded: {there}. Write the encoded bytes into "
      "image.bytes."
    )


def strings(file: pathlib.Path, names: Sequence[str]) -> dict[str, list[str]]:
  """{column: its strings in row order} of a shard; a null becomes "".

  Raises:
    InputError: the shard is damaged, or a string is not UTF-8; names the row.
  """
  columns = {}
  with reading(file), pq.ParquetFile(file) as parquet:
    table = parquet.read(columns=list(names))
    for name in names:
      column = table[name].cast(pa.large_string())
      try:
        columns[name] = [value or "" for value in column.to_pylist()]
      except UnicodeDecodeError:
        raise _no_text(file, name, column.cast(pa.large_binary())) from None
  return columns


def _no_text(file, name, column):
  """The error for a column with a string that is not UTF-8."""
  for row, value in enumerate(column.to_pylist()):
    try:
      (value or b"").decode()
    except UnicodeDecodeError as error:
      return InputError(
        f"Row {row} of {file} has the {name} {value[:60]!r}, which is not UTF-8 ({error.reason} at "
        f"byte {error.start}). Write it as UTF-8, without half a surrogate pair."
      )
  return InputError(f"{file} has a {name} that is not UTF-8.")


def hashes(paths: Sequence[pathlib.Path], cache: pathlib.Path | None) -> dict[pathlib.Path, str]:
  """{file: SHA-256}; a file that has not changed since `cache` was written is not read again.

  Args:
    paths: the files.
    cache: a JSON file that keeps the hashes by path, size and modification time; or None.
  """
  before = (kept.json_value(cache, dict) or {}) if cache else {}
  now = {}
  with progress.counting("hashing the release", len(paths)) as tick:
    for path in paths:
      status = path.stat()
      stamp = [status.st_size, status.st_mtime_ns]
      cached = before.get(str(path))
      is_cached = isinstance(cached, list) and cached[:-1] == stamp
      now[str(path)] = cached if is_cached else [*stamp, files.sha256(path)]
      tick()
  if cache and now != before:
    kept.write_json(cache, now)
  return {path: now[str(path)][-1] for path in paths}
