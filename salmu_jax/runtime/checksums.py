"""Checksums of files, which reveal damage before a file is used."""

import os
import pathlib
from collections.abc import Collection, Mapping

from salmu_jax.errors import InputError
from salmu_jax.runtime import files


def of_folder(folder: str | os.PathLike) -> dict[str, str]:
  """{name: SHA-256} of all files below a folder on a disk."""
  folder = pathlib.Path(folder)
  paths = sorted(path for path in folder.rglob("*") if path.is_file())
  return {path.relative_to(folder).as_posix(): files.sha256(path) for path in paths}


def fault(
  folder: str | os.PathLike, expected: Mapping[str, str], trusted: Collection[str] = ()
) -> str:
  """What is wrong with the first file that is missing or has changed; "" if nothing is.

  Args:
    folder: on a disk.
    expected: {name of a file in it: SHA-256}; other files are ignored.
    trusted: names of files that only need to exist.
  """
  for name, digest in expected.items():
    path = pathlib.Path(folder, name)
    if not path.is_file():
      return f"{name} is missing"
    try:
      same = name in trusted or files.sha256(path) == digest
    except OSError as error:
      return f"{name} cannot be read ({error.strerror})"
    if not same:
      return f"{name} has changed"
  return ""


def read(path: str | os.PathLike) -> dict[str, str]:
  """Reads {name: SHA-256} from a JSON file.

  Raises:
    InputError: the file does not hold such a table.
  """
  table = files.read_object(path)
  if not all(isinstance(digest, str) for digest in table.values()):
    raise InputError(f"{path} is damaged: it must give a SHA-256 for each file.")
  return table
