"""Publishes a workdir, and fetches what was published.

On the Hugging Face hub or in a folder, it writes a dataset (the release, results and leaderboard)
and a repository for each model:

    folder                   on the hub              holds
    DIR/dataset              dataset OWNER/NAME      release, results/, leaderboard/, published.json
    DIR/models/MODEL         model OWNER/NAME-MODEL  OpenCLIP's layout, with a model card

published.json lists where each model is and, on the hub, at which commit.
"""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from salmu_jax.data import dataset_card, hub, releases
from salmu_jax.errors import InputError
from salmu_jax.interop import convert, origin
from salmu_jax.interop.card import Published
from salmu_jax.report import writing
from salmu_jax.results import lookup, reading
from salmu_jax.runtime import copies, files, owner, places
from salmu_jax.runtime.places import Place

BOUNDS = ("clean", "compromised")
INDEX = "published.json"
_DATASET, _MODEL = "dataset", "model"


class Part(NamedTuple):
  """One repository.

  Attributes:
    kind: "dataset" or "model".
    name: of the model; "" for the dataset.
    target: a folder, or OWNER/NAME on the hub.
    source: the folder that it is made from.
    size: approximate size in bytes.
  """

  kind: str
  name: str
  target: str
  source: Place
  size: int


def plan(folder: Place, target: str, models: Sequence[str] = ()) -> list[Part]:
  """What `publish` would write; the dataset comes last, because it names the others.

  Args:
    folder: the workdir of a finished run.
    target: a folder, or hub:OWNER/NAME.
    models: names of finished models; all if none.

  Raises:
    InputError: the workdir has no release of its own, a model has not been trained or evaluated, or
      a name is not valid on the hub.
  """
  if not (folder / "release" / releases.MANIFEST).exists():
    raise InputError(
      f"{folder} has no release of its own, so there is no dataset to publish. To export models "
      "alone, use python -m salmu_jax.interop.convert."
    )
  paths = sorted((folder / "models").iterdir()) if (folder / "models").is_dir() else []
  finished = [path.name for path in paths if convert.is_finished(path)]
  chosen = list(dict.fromkeys(models or finished))
  for name in chosen:
    if name not in finished:
      known = ", ".join(finished) or "none"
      raise InputError(f"{folder} has no finished model {name!r}; it has {known}.")
    if not (folder / "results" / f"{name}.json").exists():
      raise InputError(f"{folder} has no results of {name!r}. Let its run finish first.")
  if not chosen:
    raise InputError(f"{folder} has no finished model. Let its run finish first.")
  address = _address(target)
  parts = [
    Part(_MODEL, name, _target(address, _MODEL, name), path, _bytes(path / "params"))
    for name in chosen
    for path in (folder / "models" / name,)
  ]
  data = _bytes(folder / "release") + _bytes(folder / "results")
  return [*parts, Part(_DATASET, "", _target(address, _DATASET, ""), folder, data)]


def replaced(part: Part) -> int | None:
  """The number of files in a hub repository that `publish` would replace; None if it is new.

  Raises:
    InputError: the repository holds something that this project did not publish, or the hub cannot
      be reached.
  """
  names = hub.listed(part.target, part.kind)
  mark = INDEX if part.kind == _DATASET else origin.FILE
  if names and mark not in names and set(names) - {".gitattributes", dataset_card.README}:
    raise InputError(
      f"{part.target} on the hub holds something else ({len(names)} files but no {mark}), which "
      "would be replaced. Choose another name."
    )
  return None if names is None else len(names)


def publish(parts: Sequence[Part], *, private: bool = False) -> str:
  """Writes the parts of a plan; returns the address to fetch them from.

  A folder appears complete or not at all. On the hub each repository gets one commit, which
  replaces the content of a repository that exists.

  Raises:
    InputError: the folder exists, or the hub refuses.
  """
  dataset = parts[-1]
  target = pathlib.Path(dataset.target)
  if not target.is_absolute():
    return _publish_to_hub(parts, private)
  if target.parent.exists() and (target.parent.is_file() or any(target.parent.iterdir())):
    raise InputError(f"{target.parent} already exists. Name another --to.")
  with files.replacing_folder(target.parent) as partial:
    places_of = {part.name: f"models/{part.name}" for part in parts[:-1]}
    for part in parts[:-1]:
      convert.export_model(part.source, partial / places_of[part.name])
    _stage_dataset(dataset.source, partial / "dataset", places_of)
  return str(target.parent)


def _publish_to_hub(parts, private):
  for part in parts:
    replaced(part)
  dataset = parts[-1]
  base = next((part.target for part in parts if part.name == "compromised"), "")
  where, addresses = Published(dataset.target, base), {}

  def send(part, folder):
    revision = hub.upload(folder, part.target, part.kind, private=private)
    return f"{hub.PREFIX}{part.target}@{revision}"

  for part in parts[:-1]:
    with _staged() as stage:
      convert.export_model(part.source, stage / "export", where=where)
      addresses[part.name] = send(part, stage / "export")
  with _staged() as stage:
    _stage_dataset(dataset.source, stage / "dataset", addresses)
    return send(dataset, stage / "dataset")


def fetch(address: str, folder: Place, models: Sequence[str] = BOUNDS) -> None:
  """Makes a workdir from what was published, in which runs resume as in the original workdir.

  Args:
    address: the folder that was published to, or hub:OWNER/NAME@COMMIT.
    folder: the workdir to make; on a disk.
    models: names of the models to fetch, with their results.

  Raises:
    InputError: nothing was published there, a file is damaged, or the workdir is in use, has a
      release, or has other models of these names.
  """
  if places.is_remote(folder):
    raise InputError(f"{folder} is in a bucket; fetch into a folder on a disk.")
  if not hub.is_address(address):
    places.refuse_inside(folder, "WORKDIR", places.place(address, "SOURCE"), "SOURCE")
  if (folder / "release").exists():
    raise InputError(f"{folder} has a release already. Name another workdir.")
  source = _fetched(address, _DATASET)
  addresses = _index(source, address)
  unknown = [name for name in models if name not in addresses]
  if unknown:
    raise InputError(f"{address} has no model {unknown[0]!r}; it has {', '.join(addresses)}.")
  releases.verify(releases.open_release(source))
  results = {name: _result(source / "results" / f"{name}.json", name) for name in models}
  with owner.owning(folder), _unfinished(folder) as partial:
    for name, result in results.items():
      at = (
        addresses[name] if hub.is_address(address) else f"{places.place(address)}/{addresses[name]}"
      )
      _restore(name, at, result, folder, partial)
    # Files appear only now, when everything is known to be complete.
    for name, result in results.items():
      _move(name, result, partial, folder)
    with files.replacing_folder(folder / "release") as release:
      _copy_release(source, release)


@contextlib.contextmanager
def _unfinished(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder in a workdir for models that are not checked yet; it is removed afterwards."""
  partial = folder / f".fetched{places.PARTIAL}"
  shutil.rmtree(partial, ignore_errors=True)  # The remains of a killed process.
  try:
    yield partial
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _index(source, address):
  """{model: where it is} of what was published."""
  path = source / INDEX
  if not path.exists():
    raise InputError(f"{address} has no {INDEX}; it was not written by `publish`.")
  models = files.read_object(path, models=dict)["models"]
  if not all(isinstance(at, str) for at in models.values()):
    raise InputError(f"{path} is damaged: it must list where each model is. Publish it again.")
  return models


def _result(path: pathlib.Path, name: str) -> dict:
  """The published results of a model, checked for completeness."""
  if not path.exists():
    raise InputError(f"the model {name} has no results at {path}. Publish it again.")
  reading.read(path)
  return files.read_object(path)


def _restore(name, address, result, folder, partial):
  """Makes a model in `partial`, unless `folder` has it; its weights must match its results."""
  there, field = folder / "models" / name, f"the model {name}"
  target = there if convert.is_finished(there) else partial / name
  if target != there:
    if there.exists():
      raise InputError(f"{there} already exists and is not a finished model. Move it away.")
    convert.restore_model(_fetched(address, _MODEL), target, field)
  weights, judged = convert.weights_digest(target), result["salmu_jax"].get("weights_sha256")
  if weights == judged:
    return
  if target == there:
    raise InputError(f"{target} is another model than {field} at {address}. Move it away.")
  raise InputError(
    f"{field} at {address} has weights of SHA-256 {weights}, but its results are of {judged}. "
    "They were not published together; publish them again."
  )


def _move(name, result, partial, folder):
  """Moves a checked model and its results into the workdir."""
  if (partial / name).exists():
    target = folder / "models" / name
    with places.writing(target):
      target.parent.mkdir(parents=True, exist_ok=True)
      (partial / name).rename(target)
  files.write_json(folder / "compat" / f"{name}.json", lookup.compat(result))
  files.write_json(folder / "results" / f"{name}.json", result)


def _address(target: str) -> str:
  """hub:OWNER/NAME, or the absolute path of a folder."""
  if hub.is_address(target):
    return target
  place = places.folder(target, "--to")
  if places.is_remote(place):
    raise InputError(f"--to={target} is neither a folder on a disk nor hub:OWNER/NAME.")
  return str(place)


def _target(address, kind, name):
  if not hub.is_address(address):
    return f"{address}/models/{name}" if kind == _MODEL else f"{address}/dataset"
  target = address + (f"-{name}" if kind == _MODEL else "")
  hub.check_name(target, "--to")
  return target.removeprefix(hub.PREFIX)


def _bytes(folder: Place) -> int:
  return sum(places.size(path) for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def _staged() -> Iterator[pathlib.Path]:
  """A temporary folder in which one part is made."""
  with tempfile.TemporaryDirectory(prefix="salmu_jax-publish-") as folder:
    yield pathlib.Path(folder)


def _stage_dataset(source, stage, models):
  """Writes the files of the dataset: release, results of the published models, leaderboard."""
  release = copies.on_disk(source / "release", places.cache(), "the release")
  _copy_release(release, stage)
  dataset_card.write(stage, files.read_json(stage / releases.MANIFEST))
  for name in models:
    path = f"results/{name}.json"
    files.write_json(stage / path, files.read_json(source / path))
  for name in writing.FILES:
    if (source / name).exists():
      (stage / "leaderboard").mkdir(exist_ok=True)
      (stage / "leaderboard" / name).write_bytes((source / name).read_bytes())
  listed = "\n".join(f"- `{name}`: {at}" for name, at in models.items())
  card = (stage / dataset_card.README).read_text()
  files.write_text(
    stage / dataset_card.README,
    f"{card}\n## Models\n\n{listed}\n\n`leaderboard/` has the table of all models of that run, "
    "`results/` the scores of those listed here.\n",
  )
  files.write_json(stage / INDEX, {"models": models})


def _copy_release(source: pathlib.Path, target: pathlib.Path) -> None:
  """Copies the files of a release, and no other files in its folder."""
  shutil.copytree(source / "data", target / "data")
  listed = [
    name for name in files.read_json(source / releases.MANIFEST)["files"] if "/" not in name
  ]
  own = (releases.MANIFEST,)
  later = (releases.FRAGILE, releases.FRAGILE_SIMILARITIES)
  for name in (*listed, *own, *later):
    if (source / name).exists():
      shutil.copyfile(source / name, target / name)


def _fetched(address: str, kind: str) -> pathlib.Path:
  if hub.is_address(address):
    return hub.fetch(address, kind, "SOURCE")
  place = pathlib.Path(places.place(address, "SOURCE"))
  return place / "dataset" if kind == _DATASET else place
