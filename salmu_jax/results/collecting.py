"""Groups the results of many folders into tables of comparable models."""

import os
from collections.abc import Iterable
from typing import NamedTuple

from salmu_jax.errors import InputError
from salmu_jax.results import metrics_table
from salmu_jax.results.lookup import rows_at
from salmu_jax.results.reading import ROLES, SAME, attacked_alike, read
from salmu_jax.runtime import files, places
from salmu_jax.runtime.places import Place

LeftOut = list[tuple[str, str]]  # (path, why it is in no table)


class Table(NamedTuple):
  """Comparable models: evaluated on the same rows, with the same bounds.

  label: names the table. results: Clean, Compromised, then the others.
  """

  label: str
  results: list[dict]


def collect(folders: Iterable[str | os.PathLike]) -> tuple[list[Table], LeftOut]:
  """Tables of the results of many folders, one for each set of comparable models.

  Args:
    folders: each with one JSON per model, or a workdir with a folder `results` of them.

  Returns:
    ([Table], [(path, why it is in no table)]). The Clean and the Compromised of a table are in one
    folder; its other models may be in any. A file that is not a readable results file, or that has
    no bounds, is left out.

  Raises:
    InputError: a folder has no JSON.
  """
  left_out: LeftOut = []
  judged = []
  for folder in map(places.place, folders):
    judged += _read_folder(results_folder(folder), left_out)
  tables = _between_bounds(judged, left_out)
  return [Table(*pair) for pair in zip(labels(tables), tables, strict=True)], left_out


def results_folder(folder: str | os.PathLike) -> Place:
  """Where the results of a workdir lie, or the folder itself."""
  folder = places.place(folder)
  inner = folder / "results"
  return inner if inner.is_dir() else folder


def _read_folder(folder, left_out):
  """[(digest of what they were evaluated on, [(path, result)])] of a folder."""
  paths = sorted(folder.glob("*.json"))
  if not paths:
    raise InputError(
      f"{folder} has no results files (*.json). Name a workdir, or its folder results."
    )
  judged = {}
  for path in paths:
    try:
      result = read(path)
    except InputError as error:
      left_out.append((str(path), str(error)))
    else:
      judged.setdefault(_judged_on(result), []).append((path, result))
  return judged.items()


def _between_bounds(judged, left_out):
  """[results of a table], from [(digest of what they were evaluated on, [(path, result)])]."""
  bounds, unlearned = {}, []
  for key, pairs in judged:
    # Clean, and weights of unknown start, belong to the Compromised in the same folder.
    beside = next((_start(r) for _, r in pairs if _role(r) == "compromised"), None)
    for path, result in pairs:
      own = _start(result) if _role(result) != "clean" else None
      place = key, own or beside
      if _role(result) == "unlearned":
        unlearned.append((place, path, result))
      else:
        _put(bounds.setdefault(place, {}), _role(result), path, result, left_out)
  tables = {}
  for place, path, result in unlearned:
    pair = bounds.get(place, {})
    if reason := _unfit(result, pair):
      left_out.append((str(path), reason))
    else:
      # The seed of imported bounds is unknown; unlearned models then have a table per seed.
      bounds_seed = pair["compromised"][1]["salmu_jax"]["seed"]
      seed = None if bounds_seed is not None else result["salmu_jax"]["seed"]
      table = tables.setdefault((*place, seed), dict(pair))
      _put(table, result["salmu_jax"]["model"], path, result, left_out)
  _add_bounds_alone(tables, bounds, left_out)
  order = lambda result: ROLES.index(_role(result))
  return [sorted((r for _, r in table.values()), key=order) for table in tables.values()]


def _unfit(result, bounds):
  """Why bounds {role: (path, result)} do not apply to a model; "" if they do."""
  missing = [role for role in ROLES[:2] if role not in bounds]
  if missing:
    return f"no {missing[-1].capitalize()} of the same start was evaluated on the same rows"
  if not attacked_alike(result, bounds["compromised"][1]):
    return "its attack settings (salmu_jax.attacks) differ from Compromised's"
  return ""


def _add_bounds_alone(tables, bounds, left_out):
  """Adds a table of two for bounds without models; one bound without the other is left out."""
  used = {place[:2] for place in tables}
  for place, pair in bounds.items():
    if len(pair) == 2 and place not in used:
      tables[*place, None] = pair
    elif len(pair) < 2:
      reason = "the other bound was not evaluated on the same rows"
      left_out += [(str(path), reason) for path, _ in pair.values()]


def _put(table, name, path, result, left_out):
  """Adds a model, or leaves it out if another model has its name."""
  marks = lambda r: [r["salmu_jax"].get(key) for key in ("weights_sha256", "inputs", "steps")]
  if marks(table.setdefault(name, (path, result))[1]) != marks(result):
    left_out.append((str(path), f"{table[name][0]} has another model of this name"))


def _start(result):
  return result["salmu_jax"]["start"]


def _role(result):
  return result["salmu_jax"]["role"]


def _judged_on(result):
  """Digest of what must be the same in comparable results."""
  about = result["salmu_jax"]
  everywhere = [m for m in metrics_table.plotted().values() if m.since == 1]  # in every file
  rows = [len(rows_at(result, metric.rows) or ()) for metric in everywhere]
  release = {key: about["release"][key] for key in SAME}
  return files.digest([release, about["evaluation"], about["general_knowledge"], rows])


def labels(tables: Iterable[list[dict]]) -> list[str]:
  """A name for each list of results: release, unit and seed, and a hash if these are not unique."""
  plain = []
  for results in tables:
    about = results[1]["salmu_jax"]
    seed = seed_of(results)
    words = f"{about['release']['name']}, unit {about['release']['holdout_unit']}"
    plain.append(words if seed is None else f"{words}, seed {seed}")
  return [
    label if plain.count(label) == 1 else f"{label} ({_mark(results)})"
    for label, results in zip(plain, tables, strict=True)
  ]


def seed_of(results: list[dict]) -> int | None:
  """The seed of a table: of Compromised or, if that is imported, of the unlearned models."""
  seeds = [result["salmu_jax"]["seed"] for result in results[1:]]
  return next((seed for seed in seeds if seed is not None), None)


def _mark(results):
  about = results[1]["salmu_jax"]
  named = [about["release"]["manifest_sha256"], about["start"], _judged_on(results[1])]
  return files.digest(named)[:8]
