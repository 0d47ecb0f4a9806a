"""Stages in a workdir: each has a folder, the settings it was made with, and a mark when done."""

import json
import os
import time
from collections.abc import Callable
from typing import Any

from salmu_jax.errors import InputError
from salmu_jax.runtime import files, hosts, places, progress, times
from salmu_jax.runtime.places import Place

SETTINGS = "settings.json"
DONE = "done.json"


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
    settings: JSON value, all that the outcome depends on.
    work: does the stage and returns the facts to keep.

  Returns:
    The facts of the finished stage.

  Raises:
    InputError: the folder was made with other settings; the message lists the first differences.
  """
  folder = places.place(folder)
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
    files.write_json(folder / DONE, {**facts, "seconds": seconds})
  progress.console.print(f"{label}: {progress.duration(seconds)}")
  times.recorder.done(label, seconds)
  return {**facts, "seconds": seconds}


def read_done(folder: Place) -> dict[str, Any]:
  """The facts of a finished stage.

  Raises:
    InputError: the mark is damaged.
  """
  return files.read_object(folder / DONE, seconds=(int, float))


def read_settings(folder: Place) -> dict[str, Any]:
  """The settings that a stage was begun with.

  Raises:
    InputError: the file is damaged.
  """
  return files.read_object(folder / SETTINGS)


def read_model_settings(folder: Place) -> dict[str, Any]:
  """The section `model` of the settings of a model: its preset, and whether layers are stacked.

  Raises:
    InputError: the file is damaged.
  """
  model = files.read_object(folder / SETTINGS, model=dict)["model"]
  if not isinstance(model.get("preset"), str) or not isinstance(model.get("scan"), bool):
    raise InputError(f"{folder / SETTINGS} names no preset, or not whether layers are stacked.")
  return model


def check_settings(folder: str | os.PathLike, settings: dict[str, Any]) -> None:
  """Raises InputError if the stage in `folder` was begun with other settings."""
  path = places.place(folder) / SETTINGS
  if not path.exists():
    return
  # Settings pass through JSON, as the kept ones did: tuples become lists.
  before, now = _flat(read_settings(path.parent)), _flat(json.loads(json.dumps(settings)))
  different = [k for k in sorted(before.keys() | now.keys()) if before.get(k) != now.get(k)]
  if different:
    shown = "; ".join(f"{k} was {before.get(k)!r} and is {now.get(k)!r}" for k in different[:4])
    more = f"; and {len(different) - 4} more" if len(different) > 4 else ""
    raise InputError(
      f"{folder} was made with another config: {shown}{more}. Choose another --workdir, set these "
      f"back, or delete {folder} to make it anew."
    )


def check_model_name(where: str, name: str) -> None:
  """Raises InputError unless a model can have this name beside the two bounds.

  Args:
    where: the field of the config that names the model.
  """
  if not name.replace("_", "").replace("-", "").isalnum() or name in ("clean", "compromised"):
    raise InputError(
      f"{where}: {name!r} becomes a folder, so it may hold only letters, digits, '-' and '_', and "
      "is not 'clean' or 'compromised'."
    )


def _flat(value, prefix=""):
  """{"a.b": leaf} of nested dicts."""
  if not isinstance(value, dict):
    return {prefix: value}
  leaves = {}
  for key, item in value.items():
    leaves |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
  return leaves
