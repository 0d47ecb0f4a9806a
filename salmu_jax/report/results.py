"""Reads results files: a folder of what belongs together, or many, sorted into what compares."""

import math
import pathlib
from typing import NamedTuple

from salmu_jax import files
from salmu_jax.errors import InputError
from salmu_jax.evaluate import scores
from salmu_jax.report import plots

ROLES = ("clean", "compromised", "unlearned")

FIELDS = {  # key of `salmu_jax` in a results file -> types its value may have
  "model": (str,),
  "role": (str,),
  "method": (str, type(None)),
  "settings": (dict,),
  "budget": (int, float, type(None)),
  "reads": (list,),
  # Imported weights say nothing of these four, nor of `start`.
  "seed": (int, type(None)),
  "steps": (int, type(None)),
  "wall_seconds": (int, float, type(None)),
  "device": (str, type(None)),
  "release": (dict,),
  "general_knowledge": (str, type(None)),
  "curve": (list,),
  "start": (str, type(None)),
  "evaluation": (dict,),
}
SAME = {  # key of `salmu_jax.release` -> types; equal in all files
  "manifest_sha256": (str,),
  "holdout_unit": (str,),
  "retrieval_gallery": (int,),
  "fragile_set_sha256": (str,),
}


class Table(NamedTuple):
  """Models that compare: judged on the same rows, between the same bounds.

  label: tells it from others. results: Clean, Compromised, then the others.
  """

  label: str
  results: list


def collect(folders):
  """The results of many folders, those that do not compare kept apart.

  Args:
    folders: each with one JSON a model, or a workdir with a folder `results` of them.

  Returns:
    ([Table], [(path, why it is in none)]). A table has the models between one Clean and one Compromised, wherever
    their files lie; a file that is no results file of this version, or has no bounds, is left out.

  Raises:
    InputError: a folder has no JSON.
  """
  parts, left_out = [], []
  for folder in map(pathlib.Path, folders):
    place = folder / "results" if (folder / "results").is_dir() else folder
    paths = sorted(place.glob("*.json"))
    if not paths:
      raise InputError(
        f"{place} has no results files (*.json). Name a workdir, or its folder results."
      )
    part = {}
    for path in paths:
      try:
        result = _read(path)
      except InputError as error:
        left_out.append((str(path), str(error)))
        continue
      part.setdefault(_judged_on(result), []).append((path, result))
    parts += part.items()
  found = _between_bounds(parts, left_out)
  return [Table(*each) for each in zip(labels(found), found, strict=True)], left_out


def _between_bounds(parts, left_out):
  """[results of a table], from [(what they were judged on, [(path, result)])]."""
  start = lambda result: result["salmu_jax"]["start"]
  role = lambda result: result["salmu_jax"]["role"]
  tables = {(key, start(r)): {} for key, part in parts for _, r in part if role(r) == "compromised"}
  for key, part in parts:
    # A Clean model, and weights of unknown start, belong with the Compromised that they lie beside.
    beside = next((start(r) for _, r in part if role(r) == "compromised"), None)
    for path, result in part:
      own = role(result) != "clean" and start(result)
      table = tables.get((key, own or beside))
      name = role(result) if role(result) != "unlearned" else result["salmu_jax"]["model"]
      if table is None:
        left_out.append(
          (str(path), "no Compromised model that it starts from was judged on the same rows")
        )
      elif table.setdefault(name, (path, result))[1] != result:
        left_out.append((str(path), f"{table[name][0]} has another model of this name"))
  for table in tables.values():
    if "clean" not in table:
      left_out += [
        (str(path), "there is no Clean model beside its Compromised") for path, _ in table.values()
      ]
  whole = [table for table in tables.values() if "clean" in table]
  return [
    sorted((r for _, r in table.values()), key=lambda r: ROLES.index(role(r))) for table in whole
  ]


def _judged_on(result):
  """Digest of what has to be the same in results that compare."""
  about = result["salmu_jax"]
  rows = [len(result[pillar][metric]["scores"]) for _, (pillar, metric) in plots.SPLITS]
  release = {key: about["release"][key] for key in SAME}
  return files.digest([release, about["evaluation"], about["general_knowledge"], rows])


def labels(tables):
  """A name for each list of results: release, unit and seed; a part of a hash where that is not enough."""
  plain = []
  for results in tables:
    about = results[1]["salmu_jax"]
    seed = "" if about["seed"] is None else f", seed {about['seed']}"
    plain.append(f"{about['release']['name']}, unit {about['release']['holdout_unit']}{seed}")
  return [
    label if plain.count(label) == 1 else f"{label} ({_mark(results)})"
    for label, results in zip(plain, tables, strict=True)
  ]


def _mark(results):
  about = results[1]["salmu_jax"]
  return files.digest(
    [about["release"]["manifest_sha256"], about["start"], _judged_on(results[1])]
  )[:8]


def _read(path):
  """One results file, checked; numbers that are not finite become None, which is shown as missing."""
  result = files.read_json(path)
  if isinstance(result, dict):
    result = _finite(result)
  _check(path, result)
  return result


def _finite(value):
  if isinstance(value, dict):
    return {key: _finite(each) for key, each in value.items()}
  if isinstance(value, list):
    return [_finite(each) for each in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value


def read_results(folder):
  """Reads and checks every results file of a folder.

  Args:
    folder: directory with one JSON a model.

  Returns:
    Results (dicts as in the files): Clean, Compromised, then the others in the files' order.

  Raises:
    InputError: a file is unreadable or incomplete, Clean or Compromised is missing or there
      twice, two models share a name, or the models were not judged on the same rows.
  """
  folder = pathlib.Path(folder)
  pairs = [(path, _read(path)) for path in sorted(folder.glob("*.json"))]
  by_name, by_role = {}, {}
  for path, result in pairs:
    name, role = result["salmu_jax"]["model"], result["salmu_jax"]["role"]
    other = by_name.get(name) or (by_role.get(role) if role != "unlearned" else None)
    if other:
      raise InputError(
        f"{path} and {other} both hold model {name!r} (role {role!r}). Names must differ and there "
        "is one Clean and one Compromised model: take one of the files away."
      )
    by_name[name] = by_role[role] = path
  for role in ("clean", "compromised"):
    if role not in by_role:
      raise InputError(
        f"{folder} has {len(pairs)} results files, none with role {role!r}: there is no bound to "
        f"judge models against. Evaluate the {role.capitalize()} model and put its JSON there."
      )
  _check_same(pairs)
  _check_starts(pairs)
  return sorted((r for _, r in pairs), key=lambda r: ROLES.index(r["salmu_jax"]["role"]))


def _check(path, result):
  """Raises InputError unless `result` has every key that the report reads."""
  if not isinstance(result, dict):
    raise InputError(f"{path} holds a {type(result).__name__}; a results file is a JSON object.")
  for key, types in FIELDS.items():
    _value(path, result, ("salmu_jax", key), types)
  for key, types in {"name": (str,), **SAME}.items():
    _value(path, result, ("salmu_jax", "release", key), types)
  for metric in scores.METRICS.values():
    _value(path, result, metric.path, (int, float, type(None)))
  for _, where in plots.SPLITS:
    rows = _value(path, result, (*where, "scores"), (list,))
    if not all(isinstance(row, int | float | None) for row in rows):
      raise InputError(f"{path}: {'.'.join(where)}.scores must hold numbers or null only.")
  for at, point in enumerate(result["salmu_jax"]["curve"]):
    if not isinstance(point, dict) or not isinstance(point.get("step"), int | float):
      raise InputError(f"{path}: salmu_jax.curve[{at}] must be an object with a number `step`.")
    for key in plots.CURVES:
      if not isinstance(point.get(key), int | float | None):
        raise InputError(f"{path}: salmu_jax.curve[{at}].{key} must be a number or null.")
  if result["salmu_jax"]["role"] not in ROLES:
    raise InputError(
      f"{path}: salmu_jax.role is {result['salmu_jax']['role']!r}; it is one of {', '.join(ROLES)}."
    )


def _value(path, result, keys, types):
  for at, key in enumerate(keys):
    if not isinstance(result, dict) or key not in result:
      raise InputError(
        f"{path} lacks {'.'.join(keys[: at + 1])}. It is not a results file of this project, or "
        "one of an older version: evaluate the model again."
      )
    result = result[key]
  if not isinstance(result, types) or isinstance(result, bool):
    raise InputError(
      f"{path}: {'.'.join(keys)} is {result!r}; it should be "
      f"{' or '.join('null' if t is type(None) else t.__name__ for t in types)}."
    )
  return result


def _check_same(pairs):
  """Raises InputError when two models were judged on different rows or in different ways."""
  (reference_path, reference), *others = pairs
  for path, result in others:
    for key in SAME:
      ours, theirs = (r["salmu_jax"]["release"][key] for r in (result, reference))
      if ours != theirs:
        raise InputError(
          f"{path} was evaluated with release.{key} {ours!r}, {reference_path} with {theirs!r}: "
          "their numbers do not compare. Evaluate both models on the same release."
        )
    ours, theirs = (r["salmu_jax"]["evaluation"] for r in (result, reference))
    if ours != theirs:
      raise InputError(
        f"{path} was evaluated with {ours}, {reference_path} with {theirs}: their numbers do not "
        "compare. Evaluate both models with the same config.evaluate."
      )
    ours, theirs = (_attacks(r) for r in (result, reference))
    if ours and theirs and ours != theirs:
      raise InputError(
        f"{path} was attacked with {ours}, {reference_path} with {theirs}: their numbers do not compare. "
        "Attack both models with the same config.attacks."
      )
    ours, theirs = (r["salmu_jax"]["general_knowledge"] for r in (result, reference))
    if ours != theirs:
      raise InputError(
        f"{path} has general_knowledge {ours!r}, {reference_path} has {theirs!r}: GenKnow does not "
        "compare. Evaluate both models on the same zero-shot set."
      )
    for _, (pillar, metric) in plots.SPLITS:
      ours, theirs = (len(r[pillar][metric]["scores"]) for r in (result, reference))
      if ours != theirs:
        raise InputError(
          f"{path} has {ours} scores in {pillar}.{metric}, {reference_path} has {theirs}. "
          "Evaluate both models on the same release."
        )


def _attacks(result):
  """How a model was attacked, whichever attacks those were; None where there was none."""
  settings = result["salmu_jax"].get("attacks") or {}
  return {k: v for k, v in settings.items() if k != "names"} if settings.get("names") else None


def _check_starts(pairs):
  """Raises InputError when a method did not start from the Compromised model of the folder."""
  starts = {r["salmu_jax"]["role"]: r["salmu_jax"]["start"] for _, r in pairs}
  for path, result in pairs:
    about = result["salmu_jax"]
    if about["role"] == "unlearned" and about["start"] not in (starts["compromised"], None):
      raise InputError(
        f"{path} was unlearned from another Compromised model than the one in this folder, so its "
        "bounds are not these. Unlearn from this one, or take the file away."
      )
