"""Atomic files, on a disk or in a bucket: a reader sees either the old content or the new."""

import contextlib
import hashlib
import json
import os
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from salmu_jax.errors import InputError, UnwritableError
from salmu_jax.runtime import places


def _umask() -> int:
  """The permissions that new files do not get; the system only returns them when they are set."""
  mask = os.umask(0o022)
  os.umask(mask)
  return mask


_UMASK = _umask()


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Yields a temporary file, which replaces `path` if the block succeeds.

  Args:
    path: the file to write. Missing parent folders are created.

  Yields:
    A local file: beside `path` or, if `path` is in a bucket, in the folder of temporary files.

  Raises:
    UnwritableError: the disk is full, or permission is missing; `path` is unchanged.
  """
  if places.is_remote(path):
    with tempfile.TemporaryDirectory(prefix="salmu_jax-") as folder:
      temporary = pathlib.Path(folder, "content")
      temporary.touch()
      yield temporary
      places.put(temporary, places.place(path))
    return
  path = pathlib.Path(path)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(places.UNFINISHED, f".{path.name}.", path.parent)
    os.close(handle)
    os.chmod(name, 0o666 & ~_UMASK)
    temporary = pathlib.Path(name)
    try:
      yield temporary
      with open(temporary, "rb") as file:
        os.fsync(file.fileno())
      os.replace(temporary, path)
    finally:
      temporary.unlink(missing_ok=True)
  except OSError as error:
    raise places.unwritable(path, error) from error


def remove_unfinished(folder: str | os.PathLike) -> None:
  """Removes the temporary files of `replacing` that killed processes left below a folder.

  Args:
    folder: must not be in use by other writers. A bucket has no such files.
  """
  if not places.is_remote(folder):
    for path in pathlib.Path(folder).rglob(f".*{places.UNFINISHED}"):
      if path.is_symlink() or not path.is_dir():  # `replacing` makes no folders
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(folder: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Yields a temporary folder on the disk, which becomes `folder` if the block succeeds.

  In a bucket its files are copied one by one; readers need a mark that is written after them.

  Args:
    folder: the folder to make, absent or empty. Missing parent folders are created.

  Raises:
    UnwritableError: the folder cannot be written.
  """
  if places.is_remote(folder):
    with tempfile.TemporaryDirectory(prefix="salmu_jax-") as temporary:
      yield pathlib.Path(temporary)
      places.send(pathlib.Path(temporary), places.place(folder))
    return
  folder = pathlib.Path(folder)
  partial = folder.with_name(f".{folder.name}{places.PARTIAL}")
  try:
    shutil.rmtree(partial, ignore_errors=True)  # The remains of a killed process.
    partial.mkdir(parents=True)
    yield partial
    os.replace(partial, folder)
  except OSError as error:
    raise places.unwritable(folder, error) from error
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes `text` as UTF-8, atomically."""
  with replacing(path) as temporary:
    temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes `value` as JSON with a final newline, atomically.

  Raises:
    InputError: see `json_text` and `replacing`.
  """
  write_text(path, json_text(path, value))


def json_text(path: str | os.PathLike, value: Any) -> str:
  """`value` as JSON with a final newline, for the file `path`.

  Raises:
    InputError: `value` holds NaN or infinity, which JSON cannot represent.
  """
  try:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
  except ValueError as error:
    raise InputError(
      f"Cannot write {path}: a number in it is not finite, so the model or the metric is broken."
    ) from error


def read_json(path: str | os.PathLike) -> Any:
  """Reads a JSON file.

  Raises:
    InputError: the file is missing, cannot be read, or is not JSON, or an object has a key twice.
  """
  place = places.place(path)
  if not places.is_remote(place) and (place.is_fifo() or place.is_socket()):
    raise InputError(f"{path} is a pipe or a socket, which may never end. It must be a file.")
  try:
    return json.loads(place.read_text(encoding="utf-8"), object_pairs_hook=_object)
  except FileNotFoundError as error:
    raise InputError(f"{path} is missing.") from error
  except OSError as error:  # a folder, no permission
    raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
  except RecursionError as error:
    raise InputError(f"{path} is nested too deep for JSON. Restore it from its source.") from error
  except ValueError as error:  # not JSON, not UTF-8, a number of too many digits
    raise InputError(f"{path} is not valid JSON ({error}). Restore it from its source.") from error


def _object(pairs):
  """A JSON object; raises ValueError for a duplicate key, whose value would be ambiguous."""
  value = dict(pairs)
  if len(value) < len(pairs):
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    raise ValueError(f"the key {twice!r} occurs twice")
  return value


def read_object(path: str | os.PathLike, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
  """Reads a JSON file that holds an object.

  Args:
    path: of the file. **kinds: the required fields and their types.

  Raises:
    InputError: as `read_json`, or it is not an object, or lacks a field of the required type.
  """
  value = read_json(path)
  if not isinstance(value, dict):
    raise InputError(f"{path} holds {type(value).__name__}, not an object. Restore it.")
  for name, kind in kinds.items():
    if not isinstance(value.get(name), kind):
      fault = f"{name!r} is {value[name]!r:.40}" if name in value else f"it has no {name!r}"
      raise InputError(f"{path} is damaged: {fault}. Restore it.")
  return value


def sha256(path: str | os.PathLike) -> str:
  """Hex SHA-256 of a file, read in blocks."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
  """Hex SHA-256 of a JSON value; the order of keys does not matter."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def require_writable(folder: str | os.PathLike) -> None:
  """Raises UnwritableError unless files can be written into a folder; a missing one is created.

  It writes and removes a file, because permissions do not restrict an administrator.
  """
  probe = places.place(folder) / f".{secrets.token_hex(8)}"
  write_text(probe, "")
  with places.writing(folder):
    probe.unlink()


def require_space(folder: str | os.PathLike, needed: int, purpose: str) -> None:
  """Raises UnwritableError unless the disk of a folder has room.

  Args:
    folder: where the bytes will be written; it need not exist yet.
    needed: bytes.
    purpose: what the bytes are, for messages, such as "the release".
  """
  if places.is_remote(folder):
    return  # a bucket does not fill up
  folder = pathlib.Path(folder)
  while not folder.exists():
    folder = folder.parent
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise UnwritableError(
      f"Not enough disk space in {folder} for {purpose}: about {needed / 2**20:.0f} MiB are "
      f"needed, {free / 2**20:.0f} MiB are free. Free some space or choose another --workdir."
    )
