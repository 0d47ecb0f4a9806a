"""The mark of finished records: the release that they were made from, and checksums of both.

Large files are hashed again only if their size or modification time has changed.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from salmu_jax.data import releases
from salmu_jax.data.releases import Release
from salmu_jax.runtime import checksums, files, kept, progress

FILE = "built_from.json"  # written last
_KEYS = ("files", "stamps")  # dicts; the other key is "release"


def are_whole(release: Release, folder: pathlib.Path) -> bool:
  """Whether the records in a folder were made from a release, and neither has changed since.

  Raises:
    InputError: a file of the release is not the one that its manifest lists.
  """
  mark = _read(folder)
  if mark["release"] != release.digest:
    return False
  here, before = _stamps(release, folder), mark["stamps"]
  if _has_changed(release, here, before):
    releases.verify(release)
  trusted = [name for name in mark["files"] if name in here and here[name] == before.get(name)]
  fault = checksums.fault(folder, mark["files"], trusted)
  if fault:
    _say(f"The records in {folder} are damaged ({fault}) and rebuilt.")
    return False
  if here != before or not mark["files"]:
    write(release, folder, mark["files"])
  return True


def write(release: Release, folder: pathlib.Path, known: Mapping[str, str] | None = None) -> None:
  """Marks the records in a folder as finished.

  Args:
    release: that they were made from. folder: of the records.
    known: their checksums, if already computed.
  """
  table = known or {
    name: digest for name, digest in checksums.of_folder(folder).items() if name != FILE
  }
  stamps = _stamps(release, folder)
  files.write_json(folder / FILE, {"release": release.digest, "files": table, "stamps": stamps})


def _read(folder: pathlib.Path) -> dict[str, Any]:
  """The mark; without a release if it is missing or damaged."""
  none = {"release": None, "files": {}, "stamps": {}}
  mark = kept.json_value(folder / FILE)
  if isinstance(mark, str):  # from an earlier version
    return {**none, "release": mark}
  if not isinstance(mark, dict) or not all(isinstance(mark.get(key), dict) for key in _KEYS):
    return none
  return {**none, **mark}


def _stamps(release: Release, folder: pathlib.Path) -> dict[str, list[int]]:
  """{name: [size, modification time]} of the files that are hashed again only if these change."""
  records = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.array_record*")}
  shards = {str(path): path for path in release.hashes if path.suffix != ".json"}
  return {
    name: [path.stat().st_size, path.stat().st_mtime_ns]
    for name, path in (records | shards).items()
    if path.is_file()
  }


def _has_changed(release, here, before):
  """Whether a file of a release may have changed; JSON files are small and always hashed."""
  for path, digest in release.hashes.items():
    if path.suffix == ".json":
      same = path.is_file() and files.sha256(path) == digest
    else:
      same = str(path) in here and here[str(path)] == before.get(str(path))
    if not same:
      return True
  return False


def _say(message):
  progress.console.print(message, style="yellow", markup=False, soft_wrap=True)
