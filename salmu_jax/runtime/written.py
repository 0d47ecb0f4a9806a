"""The SHA-256 of files that runs wrote into a workdir, so that later runs detect edits."""

import hashlib
from collections.abc import Iterable
from typing import Any

from salmu_jax.runtime import checksums, files, places
from salmu_jax.runtime.places import Place

FILE = "checksums.json"  # of a workdir


def write_json(workdir: Place, name: str, value: Any) -> None:
  """Records the checksum of a JSON file of a workdir, then writes the file.

  A run that is killed in between leaves a checksum without a file, which does no harm.

  Args:
    workdir: the workdir of the file.
    name: of the file, such as "results/npo.json".
    value: see `files.write_json`.
  """
  text = files.json_text(workdir / name, value)
  _add(workdir, {name: hashlib.sha256(text.encode()).hexdigest()})
  files.write_text(workdir / name, text)


def note(workdir: Place, names: Iterable[str]) -> None:
  """Records the checksums of files that were written into a workdir."""
  _add(workdir, {name: _sha256(workdir / name) for name in names})


def changed(workdir: Place, names: Iterable[str]) -> list[str]:
  """The files that were changed since they were written; a file without a checksum is not checked.

  Raises:
    InputError: the checksums are damaged.
  """
  noted = _read(workdir)
  return [
    name
    for name in names
    if name in noted and (workdir / name).is_file() and _sha256(workdir / name) != noted[name]
  ]


def _read(workdir):
  path = places.place(workdir) / FILE
  return checksums.read(path) if path.exists() else {}


def _add(workdir, table):
  files.write_json(workdir / FILE, _read(workdir) | table)


def _sha256(path):
  return hashlib.sha256(path.read_bytes()).hexdigest()
