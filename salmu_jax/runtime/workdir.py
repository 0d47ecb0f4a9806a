"""Stages in a workdir: each has a folder, the settings it was made with, and a mark when done."""

import hashlib
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable
from typing import Any

from salmu_jax.errors import InputError, shown
from salmu_jax.runtime import files, hosts, places, progress, times
from salmu_jax.runtime.places import Place

SETTINGS = "settings.json"
DONE = "done.json"
TOKENIZER = "tokenizer.json"
# The folders of a workdir, except those that are made again if they are damaged.
_FOLDERS = ("release", "generate", "models", "results", "compat", "audit", "export")
_LONGEST = 100  # characters of a model's name, as in results files
_LONGEST_FILE = 200  # bytes of it; file systems allow 255, which leaves room for suffixes
_NUMBER, _NOTHING = (int, float), type(None)
# What the mark of a model states about its training; None for imported weights.
_MODEL_FACTS = {
  "reads": list,
  "moves": (str, _NOTHING),
  "steps": (int, _NOTHING),
  "wall_seconds": (*_NUMBER, _NOTHING),
  "device": (str, _NOTHING),
  "versions": dict,
}


def run_stage(
  folder: str | os.PathLike,
  label: str,
  settings: dict[str, Any],
  work: Callable[[Place], dict[str, Any]],
) -> dict[str, Any]:
  """Runs `work(folder)` unless the stage is done; a stage of a killed run is resumed.

  All processes of a run do the work; the first writes settings and facts.

  Args:
    folder: of the stage.
    label: for the terminal.
    settings: JSON value of everything that the outcome depends on.
    work: does the stage and returns the facts to keep.

  Returns:
    The facts of the finished stage.

  Raises:
    InputError: the folder was made with other settings; the message lists the first differences.
  """
  folder = places.place(folder)
  check_folder(folder)
  check_settings(folder, settings)
  if (folder / DONE).exists():
    facts = read_done(folder)
    then = progress.duration(facts["seconds"])
    progress.console.print(f"{label}: done before ({then} then)", style="dim")
    times.recorder.reused(label)
    return facts
  if hosts.is_first():
    files.write_json(folder / SETTINGS, settings)
  began = time.monotonic()
  progress.console.print(f"{label} ...")
  facts = work(folder)
  seconds = time.monotonic() - began
  if hosts.is_first():
    write_done(folder, {**facts, "seconds": seconds})
  progress.console.print(f"{label}: {progress.duration(seconds)}")
  times.recorder.done(label, seconds)
  return {**facts, "seconds": seconds}


def write_done(folder: Place, facts: dict[str, Any]) -> None:
  """Marks a stage as done, with its facts and with checksums for later readers.

  Args:
    folder: of the stage. facts: JSON object; checksums in it are replaced.
  """
  files.write_json(folder / DONE, with_digest({**facts, "sha256": _checksums(folder)}))


def with_digest(facts: dict[str, Any]) -> dict[str, Any]:
  """The facts of a mark with their digest, which comes last."""
  mark = {key: value for key, value in facts.items() if key != "digest"}
  return {**mark, "digest": files.digest(mark)}


def read_done(folder: Place, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
  """The facts of a finished stage.

  Marks of earlier versions have no checksums; they are accepted without.

  Args:
    folder: of the stage. **kinds: the required facts besides `seconds`, and their types.

  Raises:
    InputError: the mark is damaged, or the stage's settings or tokenizer are not those it was
      finished with.
  """
  return _checked(folder, _read(folder, DONE, seconds=_NUMBER, **kinds))


def _checked(folder, facts):
  """The facts of a mark, after its checksums are compared."""
  problem = fault(folder, facts)
  if problem:
    raise InputError(f"{folder}/{problem}.{_advice(folder)}")
  return facts


def fault(folder: Place, facts: dict[str, Any]) -> str:
  """What is wrong with the mark of a stage or with the files that it covers; "" if nothing is.

  Args:
    folder: of the stage. facts: of its mark.
  """
  tables = [facts.get(name, {}) for name in ("sha256", "weights")]
  if facts.get("digest") not in (None, with_digest(facts)["digest"]) or not all(
    isinstance(table, dict) for table in tables
  ):
    return f"{DONE} has changed since it was written"
  there = _checksums(folder)
  for name, digest in tables[0].items():
    if there.get(name) != digest:
      return f"{name} {'has changed since it was written' if name in there else 'is missing'}"
  return ""


def read_model_facts(folder: Place) -> dict[str, Any]:
  """The facts of a finished model, see `read_done`; those of its training are required."""
  return read_done(folder, **_MODEL_FACTS)


def read_weights_digest(folder: Place) -> str:
  """The digest that the weights of a model must have; "" if none was recorded.

  Raises:
    InputError: see `read_done`.
  """
  if not (folder / DONE).exists():
    return ""
  return str(_checked(folder, _read(folder, DONE)).get("weights_sha256", ""))


def _checksums(folder):
  """{name: SHA-256} of the files of a stage that never change once it is done."""
  paths = [folder / name for name in (SETTINGS, TOKENIZER)]
  return {
    path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()
  }


def _read(folder, name, **kinds):
  """An object in a file of a stage; an error says how to make it again."""
  try:
    return files.read_object(folder / name, **kinds)
  except InputError as error:
    raise InputError(f"{error}{_advice(folder)}") from error


def _advice(folder):
  return f" To make it again, delete {folder} and rerun the run that made it."


def read_settings(folder: Place) -> dict[str, Any]:
  """The settings that a stage was begun with.

  Raises:
    InputError: the file is damaged.
  """
  return _read(folder, SETTINGS)


def read_model_settings(folder: Place) -> dict[str, Any]:
  """The section `model` of the settings of a model: its preset, and whether layers are stacked.

  Raises:
    InputError: the file is damaged.
  """
  model = _read(folder, SETTINGS, model=dict)["model"]
  if not isinstance(model.get("preset"), str) or not isinstance(model.get("scan"), bool):
    raise InputError(
      f"{folder / SETTINGS} lacks the preset, or whether layers are stacked.{_advice(folder)}"
    )
  return model


def check_folder(path: Place) -> None:
  """Raises InputError if a folder or one of its parents is a file or a broken link.

  Args:
    path: of a folder that exists or will be made.
  """
  if places.is_remote(path):
    return
  for place in (path, *path.parents):
    if place.is_dir():
      return
    if place.exists() or place.is_symlink():
      kind = "a file" if place.exists() else "a broken link"
      raise InputError(f"{place} is {kind}; it must be a folder. Move it away.")


def check_settings(folder: str | os.PathLike, settings: dict[str, Any]) -> None:
  """Raises InputError if the stage in `folder` was begun with other settings."""
  path = places.place(folder) / SETTINGS
  if (path.parent / DONE).exists():
    _checked(path.parent, _read(path.parent, DONE))
  elif not path.exists():
    return
  # Settings pass through JSON, as the stored ones did: tuples become lists.
  before, now = _flat(read_settings(path.parent)), _flat(json.loads(json.dumps(settings)))
  different = [k for k in sorted(before.keys() | now.keys()) if before.get(k) != now.get(k)]
  if different:
    shown = "; ".join(f"{k} was {before.get(k)!r} and is {now.get(k)!r}" for k in different[:4])
    more = f"; and {len(different) - 4} more" if len(different) > 4 else ""
    raise InputError(
      f"{folder} was made with another config: {shown}{more}. Choose another --workdir, restore "
      f"these settings, or delete {folder} to make it again."
    )


def check_layout(workdir: Place, names: Iterable[str]) -> None:
  """Raises InputError if a file is where a run writes a folder, or a folder where it writes a file.

  Args:
    workdir: of the run. names: of the files that it writes there, besides its folders.
  """
  for name in _FOLDERS:
    check_folder(workdir / name)
  for path in [workdir / name for name in names]:
    if path.is_dir():
      raise InputError(f"{path} is a folder; it must be a file. Move it away.")


def remove(path: pathlib.Path) -> None:
  """Removes a file, a folder or a link on a disk, if it exists; of a link, not the target."""
  if path.is_dir() and not path.is_symlink():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)


def check_model_name(where: str, name: str) -> None:
  """Raises InputError unless a model other than the two bounds can have this name.

  Args:
    where: the field of the config that names the model.
  """
  letters = name.replace("_", "").replace("-", "")
  too_long = len(name) > _LONGEST or len(name.encode(errors="replace")) > _LONGEST_FILE
  if not letters.isalnum() or too_long or name in ("clean", "compromised"):
    raise InputError(
      f"{where}: {shown(name)} names a folder, so it may hold only letters, digits, '-' and '_', "
      f"at most {_LONGEST} in {_LONGEST_FILE} bytes, and must not be 'clean' or 'compromised'."
    )


def _flat(value, prefix=""):
  """{"a.b": leaf} of nested dicts."""
  if not isinstance(value, dict):
    return {prefix: value}
  leaves = {}
  for key, item in value.items():
    leaves |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
  return leaves
