"""Atomic files: a reader sees the old content or the new one, never a part."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile

from salmu_jax.errors import InputError


@contextlib.contextmanager
def replacing(path):
  """Yields a temporary path beside `path`, which takes its place if the block succeeds.

  Args:
    path: the file to write. Parent folders are made.

  Raises:
    InputError: the file cannot be written (disk full, no permission); `path` is as it was.
  """
  path = pathlib.Path(path)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    os.chmod(name, 0o644)
    temporary = pathlib.Path(name)
    try:
      yield temporary
      with open(temporary, "rb") as file:
        os.fsync(file.fileno())
      os.replace(temporary, path)
    finally:
      temporary.unlink(missing_ok=True)
  except OSError as error:
    raise _unwritable(path, error) from error


@contextlib.contextmanager
def replacing_folder(folder):
  """Yields a temporary folder beside `folder`, which takes its place if the block succeeds.

  Args:
    folder: the folder to make, absent or empty. Parent folders are made.

  Raises:
    InputError: it cannot be written.
  """
  folder = pathlib.Path(folder)
  partial = folder.with_name(f".{folder.name}.partial")
  try:
    shutil.rmtree(partial, ignore_errors=True)  # What a killed process left.
    partial.mkdir(parents=True)
    yield partial
    os.replace(partial, folder)
  except OSError as error:
    raise _unwritable(folder, error) from error
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _unwritable(path, error):
  return InputError(
    f"Cannot write {path}: {error.strerror or error}. What was there before is unchanged. "
    "Free some space or choose another place, then start the same command again."
  )


def write_text(path, text):
  """Writes `text` as UTF-8, atomically."""
  with replacing(path) as temporary:
    temporary.write_text(text, encoding="utf-8")


def write_json(path, value):
  """Writes `value` as JSON with a final newline, atomically.

  Raises:
    InputError: it holds a NaN or an infinity, which JSON has not; or as `replacing` does.
  """
  try:
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
  except ValueError as error:
    raise InputError(
      f"Cannot write {path}: a number in it is not finite, so the model or the metric is broken."
    ) from error
  write_text(path, text + "\n")


def read_json(path):
  """Reads a JSON file.

  Raises:
    InputError: the file is missing or is not JSON.
  """
  try:
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except FileNotFoundError as error:
    raise InputError(f"{path} is missing.") from error
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise InputError(f"{path} is not valid JSON ({error}). Restore it from its source.") from error


def sha256(path):
  """Hex digest of a file, read in blocks."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value):
  """Hex SHA-256 of a JSON value, whatever the order of its keys."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def require_space(folder, needed, what):
  """Fails before any work when the disk under `folder` cannot hold `needed` bytes for `what`."""
  folder = pathlib.Path(folder)
  while not folder.exists():
    folder = folder.parent
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise InputError(
      f"Not enough disk space in {folder} for {what}: about {needed / 2**20:.0f} MiB are needed, "
      f"{free / 2**20:.0f} MiB are free. Free some space or choose another --workdir."
    )
