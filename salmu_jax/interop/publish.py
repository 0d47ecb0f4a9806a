"""Publishes what a workdir holds, and fetches what was published.

Published are a data set (the release, results and leaderboard) and a repository for each model, on
the Hugging Face hub or in a folder:

    folder                   on the hub              holds
    DIR/dataset              dataset OWNER/NAME      release, results/, leaderboard/, published.json
    DIR/models/MODEL         model OWNER/NAME-MODEL  OpenCLIP's layout, with a model card

published.json says where each model is; on the hub, at which commit.
"""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from salmu_jax.data import dataset_card, hub, releases
from salmu_jax.errors import InputError
from salmu_jax.interop import convert
from salmu_jax.interop.card import Published
from salmu_jax.report import writing
from salmu_jax.results import lookup
from salmu_jax.runtime import copies, files, places
from salmu_jax.runtime.places import Place

BOUNDS = ("clean", "compromised")
INDEX = "published.json"
_DATASET, _MODEL = "dataset", "model"


class Part(NamedTuple):
  """One repository.

  Attributes:
    kind: "dataset" or "model".
    name: of the model; "" for the data set.
    target: a folder, or OWNER/NAME on the hub.
    source: what it is made from.
    size: about how many bytes.
  """

  kind: str
  name: str
  target: str
  source: Place
  size: int


def plan(folder: Place, target: str, models: Sequence[str] = ()) -> list[Part]:
  """What `publish` would write; the data set comes last, for it names the others.

  Args:
    folder: the workdir of a finished run.
    target: a folder, or hub:OWNER/NAME.
    models: names of finished models; all if none.

  Raises:
    InputError: the workdir has no release of its own or no results, a model is not finished, or
      the target is no name of a repository or exists.
  """
  if not (folder / "release" / releases.MANIFEST).exists():
    raise InputError(
      f"{folder} has no release of its own, so there is no data set to publish. Models alone are "
      "exported by python -m salmu_jax.interop.convert."
    )
  results = folder / "results"
  if not results.is_dir():
    raise InputError(f"{folder} has no results/. Publish a workdir whose run has finished.")
  finished = [p.name for p in sorted((folder / "models").iterdir()) if convert.is_finished(p)]
  unknown = [name for name in models if name not in finished]
  if unknown:
    raise InputError(
      f"{folder} has no finished model {unknown[0]!r}; it has {', '.join(finished)}."
    )
  address = _address(target)
  place = lambda kind, name: _target(address, kind, name)
  parts = [
    Part(_MODEL, name, place(_MODEL, name), path, _bytes(path / "params"))
    for name in models or finished
    for path in (folder / "models" / name,)
  ]
  data = _bytes(folder / "release") + _bytes(results)
  return [*parts, Part(_DATASET, "", place(_DATASET, ""), folder, data)]


def publish(parts: Sequence[Part], *, private: bool = False) -> str:
  """Writes the parts of a plan; returns the address to fetch them from.

  A folder appears complete or not at all. On the hub each repository gets one commit, and one that
  is there already is changed to hold this.

  Raises:
    InputError: a folder is there already, or the hub refuses.
  """
  dataset = parts[-1]
  on_hub = not pathlib.Path(dataset.target).is_absolute()
  names = [part.name for part in parts[:-1]]
  where = Published()
  if on_hub:
    base = next((p.target for p in parts if p.name == "compromised"), "")
    where = Published(dataset.target, base)
  else:
    taken = [part.target for part in parts if pathlib.Path(part.target).exists()]
    if taken:
      raise InputError(f"{taken[0]} is there already. Name another --to.")
  places_of_models = {}
  for part in parts[:-1]:
    with _staged() as stage:
      convert.export_model(part.source, stage / "export", where=where)
      places_of_models[part.name] = _put(stage / "export", part, on_hub, private)
  with _staged() as stage:
    _stage_dataset(dataset.source, stage / "dataset", places_of_models, names)
    return _put(stage / "dataset", dataset, on_hub, private)


def fetch(address: str, folder: Place, models: Sequence[str] = BOUNDS) -> None:
  """Makes a workdir of what was published, in which a run goes on as in the one it came from.

  Args:
    address: the folder that was published to, or hub:OWNER/NAME@COMMIT.
    folder: the workdir to make; on a disk.
    models: to bring along, with their results.

  Raises:
    InputError: nothing was published there, a file is damaged, or the workdir is in use.
  """
  if (folder / "release").exists():
    raise InputError(f"{folder} has a release already. Name another workdir.")
  source = _fetched(address, _DATASET)
  index = source / INDEX
  if not index.exists():
    raise InputError(f"{address} has no {INDEX}; it was not written by `publish`.")
  known = files.read_json(index)["models"]
  unknown = [name for name in models if name not in known]
  if unknown:
    raise InputError(f"{address} has no model {unknown[0]!r}; it has {', '.join(known)}.")
  for name in models:
    at = known[name] if hub.is_address(address) else f"{places.place(address)}/{known[name]}"
    _fetch_model(name, at, source / "results" / f"{name}.json", folder)
  with files.replacing_folder(folder / "release") as partial:
    _copy_release(source, partial)
    releases.verify(releases.open_release(partial))


def _fetch_model(name, address, result_path, folder):
  """Brings a model and its results into a workdir; they have to be of the same weights."""
  target = folder / "models" / name
  if convert.is_finished(target):
    return
  field = f"the model {name}"
  weights = convert.restore_model(_fetched(address, _MODEL), target, field)
  if not result_path.exists():
    return
  result = files.read_json(result_path)
  judged = result["salmu_jax"]["weights_sha256"]
  if judged != weights:
    shutil.rmtree(target)
    raise InputError(
      f"{field} at {address} has weights of SHA-256 {weights}, and its results are of {judged}. "
      "Both were not published together; publish them again."
    )
  files.write_json(folder / "compat" / f"{name}.json", lookup.compat(result))
  files.write_json(folder / "results" / f"{name}.json", result)


def _address(target: str) -> str:
  """hub:OWNER/NAME, or the absolute path of a folder."""
  if not hub.is_address(target):
    place = places.place(target, "--to")
    if places.is_remote(place):
      raise InputError(f"--to={target} is in a bucket; name a folder on a disk, or hub:OWNER/NAME.")
    return str(place)
  hub.check_name(target, "--to")
  return target


def _target(address, kind, name):
  if hub.is_address(address):
    return address.removeprefix(hub.PREFIX) + (f"-{name}" if kind == _MODEL else "")
  return f"{address}/models/{name}" if kind == _MODEL else f"{address}/dataset"


def _bytes(folder: Place) -> int:
  return sum(places.size(path) for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def _staged() -> Iterator[pathlib.Path]:
  """A folder for one part while it is made."""
  with tempfile.TemporaryDirectory(prefix="salmu_jax-publish-") as folder:
    yield pathlib.Path(folder)


def _stage_dataset(source, stage, models, names):
  """The files of the data set: the release, the published models' results, the leaderboard."""
  release = copies.on_disk(source / "release", places.cache(), "the release")
  _copy_release(release, stage)
  if not (stage / dataset_card.README).exists():
    dataset_card.write(stage, files.read_json(stage / releases.MANIFEST))
  for name in names:
    result = source / "results" / f"{name}.json"
    if result.exists():
      files.write_json(stage / "results" / f"{name}.json", files.read_json(result))
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
  """Copies the files of a release, and nothing that may lie beside them."""
  shutil.copytree(source / "data", target / "data")
  listed = [
    name for name in files.read_json(source / releases.MANIFEST)["files"] if "/" not in name
  ]
  own = (releases.MANIFEST, dataset_card.CROISSANT, dataset_card.README)
  later = (releases.FRAGILE, releases.FRAGILE_SIMILARITIES)
  for name in (*listed, *own, *later):
    if (source / name).exists():
      shutil.copyfile(source / name, target / name)


def _put(stage, part, on_hub, private) -> str:
  """Moves a staged part to its folder, or uploads it; returns where `fetch` finds it."""
  if on_hub:
    return f"{hub.PREFIX}{part.target}@{hub.upload(stage, part.target, part.kind, private=private)}"
  target = pathlib.Path(part.target)
  with files.replacing_folder(target) as partial:
    shutil.copytree(stage, partial, dirs_exist_ok=True)
  return f"models/{part.name}" if part.kind == _MODEL else str(target.parent)


def _fetched(address: str, kind: str) -> pathlib.Path:
  if hub.is_address(address):
    return hub.fetch(address, kind, "SOURCE")
  place = pathlib.Path(places.place(address, "SOURCE"))
  return place / "dataset" if kind == _DATASET else place


def sizes_in_words(parts: Sequence[Part]) -> list[tuple[str, str, str]]:
  """(kind, target, size) of each part, for a table."""
  return [(part.kind, part.target, f"{part.size / 2**20:,.1f} MiB") for part in parts]
