"""The file in which an export records the model folder that it was made from.

It holds {"settings", "done"} of that folder.
"""

import pathlib
from typing import Any

from salmu_jax.data import hub
from salmu_jax.errors import InputError
from salmu_jax.runtime import files, workdir
from salmu_jax.runtime.places import Place

FILE = "salmu_jax_stage.json"


def of(folder: Place) -> dict[str, Any]:
  """The content of FILE for an export of a folder: its settings and facts.

  Weights that came from a disk or a bucket keep their name, but not their path.
  """
  settings, done = workdir.read_settings(folder), workdir.read_done(folder)
  if _is_local(done):
    name = pathlib.PurePath(done["weights"]["source"]).name
    done = workdir.with_digest({**done, "weights": {**done["weights"], "source": name}})
  return {"settings": settings, "done": done}


def read(source: pathlib.Path, field: str) -> tuple[dict[str, Any], dict[str, Any]]:
  """(settings, facts) of the folder that was exported to `source`.

  Raises:
    InputError: `source` was not exported by this project, or the file is damaged. It names `field`.
  """
  path = source / FILE
  if not path.is_file():
    raise InputError(f"{field}: {source} has no {FILE}, so it is not an export of this project.")
  stage = files.read_json(path)
  try:
    settings, done = dict(stage["settings"]), dict(stage["done"])
    preset, scan = settings["model"]["preset"], settings["model"]["scan"]
  except (KeyError, TypeError, ValueError) as error:
    raise InputError(f"{field}: {path} is damaged. Restore it.") from error
  if not isinstance(preset, str) or not isinstance(scan, bool):
    raise InputError(
      f"{field}: {path} is damaged: it lacks the preset, or the field that says whether layers are "
      "stacked."
    )
  return settings, done


def write(folder: pathlib.Path, settings: dict[str, Any], done: dict[str, Any], what: str) -> None:
  """Writes settings and facts into a folder with all other files, and compares all checksums.

  Args:
    folder: of the model. settings, done: see `read`. what: the file they are from, for errors.

  Raises:
    InputError: the settings, the facts or the tokenizer are not those that were exported.
  """
  if "digest" in done and _is_local(done):
    done = workdir.with_digest(done)  # earlier versions shortened the path and kept the digest
  files.write_json(folder / workdir.SETTINGS, settings)
  files.write_json(folder / workdir.DONE, done)
  fault = workdir.fault(folder, done)
  if fault:
    raise InputError(f"{what} is damaged: {fault}. Restore it, or publish the model again.")


def _is_local(done):
  """Whether weights came from a disk or a bucket."""
  about = done.get("weights")
  source = about.get("source") if isinstance(about, dict) else None
  return isinstance(source, str) and bool(source) and not hub.is_address(source)
