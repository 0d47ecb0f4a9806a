"""Places that users name, on a disk or in a bucket: one kind of path for both.

On a disk a place is a pathlib.Path, in a bucket an epath.Path, which has the same methods. Files
that must be on a disk are read from a copy there, see `copies`. A bucket is slow, so it has few
files and none is renamed: the file that is written last marks the others as complete.
"""

import contextlib
import errno
import functools
import hashlib
import importlib.util
import logging
import os
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

from etils import epath

from salmu_jax.errors import InputError, UnwritableError

Place = pathlib.Path | epath.Path
# Scheme -> the package that opens it.
SCHEMES = {"gs": "gcsfs", "s3": "s3fs"}
# The system's errors for a path with something in it that is not a folder.
_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.EISDIR)
_LONGEST = 255  # bytes of a name, on common file systems
_MARKS = ("manifest.json", "done.json")
# Suffixes of unfinished files and folders, whose names begin with a dot; they are removed.
UNFINISHED, PARTIAL = ".unfinished", ".partial"
_WILD = "*?["
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/(/?)(.*)", re.DOTALL)


def place(path: str | os.PathLike, field: str = "") -> Place:
  """The place that a user names: absolute, `~` expanded.

  Args:
    path: on a disk, or gs://BUCKET/... or s3://BUCKET/...
    field: its name in errors, such as "--workdir"; "" for a path that no user named.

  Raises:
    InputError: it is not a path, a name in it is too long, no installed package opens the address,
      `~` names an unknown user, or a user gave it the name of an unfinished file.
  """
  text = os.fspath(path)
  named = f"{field} = {text!r}" if field else text
  _refuse_no_path(text, field or "A path", named)
  if field:
    _refuse_unfinished(text, named)
  address = _ADDRESS.match(text)
  if not address:
    _refuse_long(text, field or "A path")
    try:
      return pathlib.Path(text).expanduser().absolute()
    except RuntimeError as error:
      raise InputError(f"{named}: there is no user of that name. Write out the path.") from error
  scheme, slash, rest = address.groups()
  if scheme not in SCHEMES:
    known = ", ".join(f"{name}://BUCKET/FOLDER" for name in SCHEMES)
    raise InputError(f"{named} is neither a path on a disk nor one of {known}.")
  if not slash or not rest.strip("/"):
    raise InputError(f"{named} names no place in a bucket; write {scheme}://BUCKET/FOLDER.")
  if importlib.util.find_spec(SCHEMES[scheme]) is None:
    raise InputError(
      f"{named}: {scheme}:// needs the package {SCHEMES[scheme]}, which is not installed. "
      f"Install it (pip install {SCHEMES[scheme]}), or name a folder on a disk."
    )
  _file_system(scheme)
  return epath.Path(text)


def folder(path: str | os.PathLike, field: str = "") -> Place:
  """The place of a folder that is written to, or that has a model; see `place`.

  Raises:
    InputError: as `place`, or a name in it has a character that Orbax treats as a wildcard.
  """
  there = place(path, field)
  wild = sorted(set(_WILD) & set(os.fspath(there)))
  if wild:
    named = f"{field} = {os.fspath(path)!r}" if field else os.fspath(path)
    raise InputError(
      f"{named} has {' and '.join(wild)} in its path, {there}, which readers of weights and of "
      "records treat as a wildcard. Choose another name, or move the folder."
    )
  return there


def refuse_inside(
  target: str | os.PathLike, field: str, source: str | os.PathLike, source_field: str
) -> None:
  """Raises InputError if a folder to be written is a folder that is read, or lies in it.

  Args:
    target: to be written. field: its name in errors. source: a file or a folder that is read.
    source_field: its name in errors.
  """
  if is_remote(target) != is_remote(source):
    return
  inner, outer = (
    pathlib.Path(path) if is_remote(path) else pathlib.Path(path).resolve()
    for path in (target, source)
  )
  if inner.is_relative_to(outer):
    lies = "is" if inner == outer else "lies in"
    raise InputError(
      f"{field} = {os.fspath(target)!r} {lies} {source_field} = {os.fspath(source)!r}, which is "
      "only read. Choose a folder outside of it."
    )


def _refuse_unfinished(path, named):
  """Raises InputError if a path ends in a name that only unfinished files and folders have."""
  name = os.path.basename(path.rstrip(os.sep))
  if name.startswith(".") and name.endswith((UNFINISHED, PARTIAL)):
    raise InputError(
      f"{named} has a name reserved for unfinished files ({name}), which are removed. Choose "
      "another name, or rename the file."
    )


def _refuse_no_path(text, what, named):
  """Raises InputError for a path that is blank, not UTF-8, or on the hub."""
  if not text.strip():
    kind = "blank" if text else "empty"
    raise InputError(f"{what} is {kind}. Name a file or folder; . is the current folder.")
  if any("\ud800" <= letter <= "\udfff" for letter in text):  # what Python makes of other bytes
    raise InputError(
      f"{what} = {text!r} has bytes that are not UTF-8, which libraries require of a path. Choose "
      "another name."
    )
  if text.startswith("hub:"):
    raise InputError(
      f"{named} is a repository of the hub; it must be a file or folder. For a folder of that "
      f"name, write ./{text}."
    )


def _refuse_long(path, what):
  """Raises InputError for a name that is too long for a disk; a bucket allows longer ones."""
  for name in path.split(os.sep):
    count = len(os.fsencode(name))
    if count > _LONGEST:
      raise InputError(
        f"{what} has a name of {count} bytes, {name[:40]!r}...; file systems allow at most "
        f"{_LONGEST}."
      )


def is_remote(path: str | os.PathLike) -> bool:
  """Whether a place is in a bucket."""
  return bool(_ADDRESS.match(os.fspath(path)))


@functools.cache
def _file_system(scheme):
  """The fsspec file system of a scheme, without a cache of listings.

  Other processes write too, so a file that is not in an old listing would seem to be missing.
  """
  import fsspec

  # Its errors are reported in words, and its log has a traceback for each attempt.
  logging.getLogger(SCHEMES[scheme]).setLevel(logging.CRITICAL)
  for protocol in ("gcs", "gs") if scheme == "gs" else (scheme,):
    fsspec.config.conf.setdefault(protocol, {})["use_listings_cache"] = False
  return fsspec.filesystem(scheme)


def file_system(path: Place) -> Any:
  """The fsspec file system of a place in a bucket, which epath uses too."""
  scheme, _, _ = os.fspath(path).partition(":")
  return _file_system(scheme)


def scratch(workdir: Place, setting: str) -> pathlib.Path:
  """The local folder for files that a run reads at random: records, images, copies, caches.

  Args:
    workdir: of the run.
    setting: `config.scratch`. If it is empty, scratch is the workdir or, for a workdir in a bucket,
      a folder of the user's cache directory.

  Raises:
    InputError: the setting is not a local path.
  """
  if setting and is_remote(setting):
    raise InputError(
      f"config.scratch = {setting!r} is in a bucket, but scratch needs random access. Name a local "
      "folder, or leave it empty."
    )
  if not setting and not is_remote(workdir):
    return pathlib.Path(workdir)
  base = place(setting, "config.scratch") if setting else cache() / "scratch"
  return base / f"{workdir.name}-{digest(workdir)}"


def digest(path: Place) -> str:
  """Twelve hex digits that identify a place."""
  return hashlib.sha256(os.fspath(path).encode()).hexdigest()[:12]


def cache() -> pathlib.Path:
  """This project's folder in the user's cache directory."""
  base = os.environ.get("XDG_CACHE_HOME", "")
  return pathlib.Path(base if os.path.isabs(base) else "~/.cache", "salmu_jax").expanduser()


def put(file: pathlib.Path, path: Place) -> None:
  """Copies a local file into a bucket; an existing file is replaced as a whole.

  Raises:
    UnwritableError: the bucket cannot be written.
  """
  with writing(path):
    file_system(path).put_file(str(file), os.fspath(path))


def send(folder: pathlib.Path, path: Place) -> None:
  """Copies the files of a local folder to a place; existing files are replaced.

  In a bucket, the files that mark a folder as complete are written last.

  Raises:
    UnwritableError: the place cannot be written.
  """
  if not is_remote(path):
    with writing(path):
      shutil.copytree(folder, path, dirs_exist_ok=True)
    return
  files = sorted(file for file in folder.rglob("*") if file.is_file())
  address = lambda file: f"{os.fspath(path)}/{file.relative_to(folder).as_posix()}"
  with writing(path):
    for part in (False, True):
      chosen = [file for file in files if (file.name in _MARKS) == part]
      if chosen:
        file_system(path).put([str(file) for file in chosen], [address(file) for file in chosen])


def size(path: Place) -> int:
  """The size of a file in bytes."""
  about = path.stat()
  return about.length if is_remote(path) else about.st_size


@contextlib.contextmanager
def writing(path: Place) -> Iterator[None]:
  """Turns the errors of writing to a place into an UnwritableError."""
  try:
    yield
  except InputError:
    raise
  except Exception as error:  # Every package has its own errors.
    raise unwritable(path, error) from error


def unwritable(path: Place, error: BaseException) -> UnwritableError:
  """The error that says why a place cannot be written."""
  if is_remote(path):
    mend = "Check that the bucket exists and that this machine may write to it"
  elif getattr(error, "errno", None) in _IN_THE_WAY:
    mend = "Something else has that name, or a part of its path. Move it away, or choose another"
  else:
    mend = "Free some space or choose another place"
  return UnwritableError(
    f"Cannot write {path}: {reason(error)}. Existing content is unchanged. {mend}, then rerun the "
    "same command."
  )


def reason(error: BaseException) -> str:
  """An error of a disk or a bucket in a few words."""
  text = getattr(error, "strerror", None) or str(error) or type(error).__name__
  return str(text).strip().splitlines()[0].rstrip(".")
