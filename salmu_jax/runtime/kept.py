"""Cached files: slow to make, and made again if they are lost.

A fault in such a file only costs time: a damaged one is made again, and one that cannot be written
is not kept. Both print a warning.
"""

import hashlib
import io
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from salmu_jax.errors import InputError, UnwritableError
from salmu_jax.runtime import files, hosts, progress

_DIGEST = hashlib.sha256().digest_size  # bytes, before the array


def array(path: str | os.PathLike | None, make: Callable[[], np.ndarray]) -> np.ndarray:
  """The array at `path`, or what `make()` returns, which is written there.

  All processes of a run call it together, and all make the array if one of them cannot read it.

  Args:
    path: the file, whose name identifies everything that the array depends on; None to keep
      nothing.
    make: makes the array.
  """
  if path is None:
    return make()
  path = pathlib.Path(path)
  stored = _read(path)
  if not hosts.flag_of_any(stored is None):
    return stored
  made = make()
  if stored is None and (hosts.is_first() or not path.exists()):
    _write(path, made)
  return made


def json_value(path: pathlib.Path, kind: type = object) -> Any:
  """The JSON value of such a file; None if it is missing or damaged.

  Args:
    path: of the file. kind: the type of its value, such as dict.
  """
  if not path.exists():
    return None
  try:
    value = files.read_json(path)
    if isinstance(value, kind):
      return value
    reason = f"it holds {type(value).__name__}"
  except InputError as error:
    reason = str(error)
  _say(f"{path} is damaged and is made again: {reason}")
  return None


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes the file that `json_value` reads, replacing anything at that path."""
  if path.is_dir():
    shutil.rmtree(path)
  try:
    files.write_json(path, value)
  except UnwritableError as error:
    _say(f"{path.name} is not kept, so the next run makes it again: {error}")


def _say(message):
  progress.console.print(message, style="yellow", markup=False, soft_wrap=True)


def _read(path):
  """The array; None if it is missing or damaged."""
  try:
    content = path.read_bytes()
  except FileNotFoundError:
    return None
  except OSError as error:
    _say(f"{path} cannot be read ({error.strerror}) and is computed again.")
    return None
  digest, stored = content[:_DIGEST], content[_DIGEST:]
  if hashlib.sha256(stored).digest() != digest:
    _say(f"{path} is damaged and is computed again.")
    return None
  return np.load(io.BytesIO(stored), allow_pickle=False)


def _write(path, value):
  stored = io.BytesIO()
  np.save(stored, value, allow_pickle=False)
  try:
    with files.replacing(path) as temporary:
      temporary.write_bytes(hashlib.sha256(stored.getbuffer()).digest() + stored.getvalue())
  except InputError as error:
    _say(f"{path.name} is not kept and will be computed again: {error}")
