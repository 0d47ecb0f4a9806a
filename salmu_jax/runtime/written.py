"""What runs have written into a workdir, by SHA-256, so that a later run sees what was edited."""

import hashlib
from collections.abc import Iterable
from typing import Any

from salmu_jax.runtime import checksums, files, places
from salmu_jax.runtime.places import Place

FILE = "checksums.json"  # of a workdir


def write_json(workdir: Place, name: str, value: Any) -> None:
  """Writes a JSON file of a workdir, and notes its checksum first.

  A run that is killed in between leaves a checksum without a file, which says nothing.

  Args:
    workdir: that the file is below.
    name: of the file, as "results/npo.json".
    value: see `files.write_json`.
  """
  text = files.json_text(workdir / name, value)
  _add(workdir, {name: hashlib.sha256(text.encode()).hexdigest()})
  files.write_text(workdir / name, text)


def note(workdir: Place, names: Iterable[str]) -> None:
  """Notes the checksums of files that were written into a workdir."""
  _add(workdir, {name: _sha256(workdir / name) for name in names})


def changed(workdir: Place, names: Iterable[str]) -> list[str]:
  """The files that are there, but not as they were written; of a file not noted nobody knows.

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
