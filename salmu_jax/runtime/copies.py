"""Local copies of files in a bucket, for random access."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from salmu_jax.errors import InputError
from salmu_jax.runtime import files, kept, places, progress
from salmu_jax.runtime.places import Place

_LISTING = "listing.json"  # beside a copy: its complete files
# The fields of a bucket's listing that change with the content of a file.
_STAMPS = ("size", "etag", "ETag", "generation", "mtime", "LastModified")


def on_disk(path: Place, scratch: pathlib.Path, purpose: str) -> pathlib.Path:
  """A local path: the place itself, or a copy of a file or folder in a bucket.

  Files that have not changed in the bucket are not copied again. Processes of one machine wait for
  each other.

  Args:
    path: a file or a folder.
    scratch: the folder of copies.
    purpose: what it is, for messages, such as "the release".

  Raises:
    InputError: it does not exist, or cannot be read.
    UnwritableError: the disk has no room for it.
  """
  if not places.is_remote(path):
    return pathlib.Path(path)
  copy, stamps = place_of(path, scratch), _listed(path, purpose)
  with locked(copy.parent):
    listing = copy.parent / _LISTING
    copied = kept.json_value(listing)
    copied = copied if isinstance(copied, dict) else {}
    changed = {name: stamp for name, stamp in stamps.items() if copied.get(name) != stamp}
    _fetch(path, copy, changed, purpose)
    gone = copied.keys() - stamps.keys()
    for name in gone:
      (copy / name).unlink(missing_ok=True)
    if changed or gone:
      kept.write_json(listing, stamps)
  return copy


def place_of(path: Place, scratch: pathlib.Path) -> pathlib.Path:
  """Where the copy of a place in a bucket is."""
  return scratch / "copies" / places.digest(path) / path.name


def publish(path: Place, scratch: pathlib.Path, purpose: str) -> None:
  """Uploads the files at `place_of(path)` to the bucket, and records that both are the same."""
  copy = place_of(path, scratch)
  places.send(copy, path)
  files.write_json(copy.parent / _LISTING, _listed(path, purpose))


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
  """Keeps other processes of this machine out of a folder on the disk while the block runs."""
  folder.mkdir(parents=True, exist_ok=True)
  with open(folder / ".lock", "a", encoding="utf-8") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def _listed(path, purpose):
  """{name in the folder: its stamp} for a folder in a bucket, {"": its stamp} for a file."""
  system, root = places.file_system(path), os.fspath(path)
  try:
    found = system.find(root, detail=True)
  except Exception as error:  # Every package has its own errors.
    raise InputError(f"{path}: {purpose} cannot be listed ({places.reason(error)}).") from error
  if not found:
    raise InputError(f"{path}: {purpose} is not there. Check the address.")
  bucket_path = root.partition("://")[2].rstrip("/")
  return {
    name.removeprefix(bucket_path).lstrip("/"): {k: str(about[k]) for k in _STAMPS if k in about}
    for name, about in found.items()
    if not name.endswith("/")
  }


def _fetch(path, copy, there, purpose):
  """Copies files out of a bucket; each appears complete or not at all."""
  if not there:
    return
  size = sum(int(stamp["size"]) for stamp in there.values())
  files.require_space(copy.parent, size, f"a copy of {purpose}")
  with progress.counting(f"copying {purpose} from {path}", len(there)) as tick:
    for name in there:
      source = f"{os.fspath(path)}/{name}" if name else os.fspath(path)
      with files.replacing(copy / name) as temporary:
        try:
          places.file_system(path).get_file(source, str(temporary))
        except Exception as error:  # Every package has its own errors.
          raise InputError(f"{source} cannot be read ({places.reason(error)}).") from error
      tick()
