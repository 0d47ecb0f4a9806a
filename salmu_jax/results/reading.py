"""Reads results files: a folder of what belongs together, or many, sorted into what compares."""

import math
import pathlib
from typing import NamedTuple

from salmu_jax.errors import InputError
from salmu_jax.report import plots
from salmu_jax.results import details, scores
from salmu_jax.runtime import files

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
    ([Table], [(path, why it is in none)]). A table has the models between one Clean and one
    Compromised, which lie in one folder; the models may lie anywhere. A file that is no results
    file of this version, or has no bounds, is left out.

  Raises:
    InputError: a folder has no JSON.
  """
  parts, left_out = [], []
  for folder in map(pathlib.Path, folders):
    place = place_of(folder)
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


def place_of(folder):
  """Where the results of a workdir lie, or the folder itself."""
  inner = pathlib.Path(folder) / "results"
  return inner if inner.is_dir() else pathlib.Path(folder)


def _between_bounds(parts, left_out):
  """[results of a table], from [(what they were judged on, [(path, result)])]."""
  bounds, others = {}, []
  for key, part in parts:
    # A Clean model, and weights of unknown start, belong with the Compromised that they lie beside.
    beside = next((_start(r) for _, r in part if _role(r) == "compromised"), None)
    for path, result in part:
      own = _start(result) if _role(result) != "clean" else None
      place = key, own or beside
      if _role(result) == "unlearned":
        others.append((place, path, result))
      else:
        _put(bounds.setdefault(place, {}), _role(result), path, result, left_out)
  tables = {}
  for place, path, result in others:
    known = bounds.get(place, {})
    missing = [role for role in ROLES[:2] if role not in known]
    if missing:
      reason = f"no {missing[-1].capitalize()} that it belongs to was judged on the same rows"
      left_out.append((str(path), reason))
    elif _attacked_otherwise(result, known["compromised"][1]):
      left_out.append((str(path), "it was attacked otherwise than Compromised (salmu_jax.attacks)"))
    else:
      # Of imported bounds the seed is unknown; then seeds of what was unlearned are tables of their
      # own.
      own = (
        result["salmu_jax"]["seed"]
        if known["compromised"][1]["salmu_jax"]["seed"] is None
        else None
      )
      table = tables.setdefault((*place, own), dict(known))
      _put(table, result["salmu_jax"]["model"], path, result, left_out)
  used = {place[:2] for place in tables}
  for place, known in bounds.items():
    if len(known) == 2 and place not in used:
      tables[*place, None] = known
    elif len(known) < 2:
      reason = "the other bound was not judged on the same rows"
      left_out += [(str(path), reason) for path, _ in known.values()]
  order = lambda result: ROLES.index(_role(result))
  return [sorted((r for _, r in table.values()), key=order) for table in tables.values()]


def _put(table, name, path, result, left_out):
  """Adds a model, unless one of its name is there; the same model judged twice is no other."""
  marks = lambda r: [r["salmu_jax"].get(key) for key in ("weights_sha256", "inputs", "steps")]
  if marks(table.setdefault(name, (path, result))[1]) != marks(result):
    left_out.append((str(path), f"{table[name][0]} has another model of this name"))


def _start(result):
  return result["salmu_jax"]["start"]


def _role(result):
  return result["salmu_jax"]["role"]


def _attacked_otherwise(result, compromised):
  ours, theirs = _attacks(result), _attacks(compromised)
  return bool(ours and theirs and ours != theirs)


def _judged_on(result):
  """Digest of what has to be the same in results that compare."""
  about = result["salmu_jax"]
  rows = [len(result[pillar][metric]["scores"]) for _, (pillar, metric) in plots.SPLITS]
  release = {key: about["release"][key] for key in SAME}
  return files.digest([release, about["evaluation"], about["general_knowledge"], rows])


def labels(tables):
  """A name for each list of results: release, unit and seed; a part of a hash where that is not
  enough.
  """
  plain = []
  for results in tables:
    about = results[1]["salmu_jax"]
    known = seed_of(results)
    seed = "" if known is None else f", seed {known}"
    plain.append(f"{about['release']['name']}, unit {about['release']['holdout_unit']}{seed}")
  return [
    label if plain.count(label) == 1 else f"{label} ({_mark(results)})"
    for label, results in zip(plain, tables, strict=True)
  ]


def seed_of(results):
  """The seed of a table: of Compromised, or, where that is imported, of what was unlearned; None
  if unknown.
  """
  seeds = [result["salmu_jax"]["seed"] for result in results[1:]]
  return next((seed for seed in seeds if seed is not None), None)


def _mark(results):
  about = results[1]["salmu_jax"]
  return files.digest(
    [about["release"]["manifest_sha256"], about["start"], _judged_on(results[1])]
  )[:8]


def _read(path):
  """One results file, checked; numbers that are not finite become None, which is shown as
  missing.
  """
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
  _check_attacks(pairs)
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
  details.check(path, result)
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


def _check_attacks(pairs):
  """Raises InputError when two models were attacked in different ways."""
  (path, first), *others = [(p, r) for p, r in pairs if _attacks(r)] or [(None, None)]
  for other, result in others:
    if _attacks(result) != _attacks(first):
      raise InputError(
        f"{other} was attacked with {_attacks(result)}, {path} with {_attacks(first)}: their "
        "numbers do not compare. Attack both models with the same config.attacks."
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
