"""Reads a folder of results files, one JSON per model, and refuses any that are not comparable."""

import json
import os
from collections.abc import Collection, Mapping

from salmu_jax import errors
from salmu_jax.errors import InputError
from salmu_jax.results import additional, coherence, lookup, metrics_table, schema, strict
from salmu_jax.results.lookup import rows_at
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.runtime import places

ROLES = ("clean", "compromised", "unlearned")

FIELDS = {  # key of `salmu_jax` in a results file -> types its value may have
  "model": (str,),
  "role": (str,),
  "method": (str, type(None)),
  "settings": (dict,),
  "budget": (int, float, type(None)),
  "reads": (list,),
  # Imported weights do not state these four, nor `start`.
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
# Losses and accuracies that a training curve may have besides its steps.
CURVES = ("loss", "accuracy", "forget_loss", "retain_loss")


def read(path: str | os.PathLike) -> dict:
  """One results file, checked.

  Numbers that are not finite become None, which is shown as missing. A file of an older version may
  lack later fields, and unknown fields are left alone.

  Raises:
    InputError: the file is unreadable or incomplete, a value does not fit the schema, or a number
      does not follow from its rows.
  """
  path = places.place(path)
  result = strict.read(path, missing=True)
  _check(path, result)
  faults = list(schema.faults(result))
  # What external weights were trained on is unknown.
  tolerable = {
    fault.path: fault.words
    for fault in faults
    if fault.tolerable or fault.path == ("salmu_jax", "reads")
  }
  refused = {fault.path: fault.words for fault in faults if fault.path not in tolerable}
  refused |= dict(strict.unfit(result))
  wrong = tolerable | refused
  coherence.add_problems(wrong, coherence.checks(result, whole=False))
  refused |= {where: words for where, words in wrong.items() if where not in tolerable}
  if refused:
    where, words = next(iter(refused.items()))
    more = f" ({len(refused) - 1} more like this)" if len(refused) > 1 else ""
    raise InputError(
      f"{path}: {schema.dotted(where)}: {words}{more}. Restore it, or evaluate the model again."
    )
  return result


def read_results(folder: str | os.PathLike) -> list[dict]:
  """Reads and checks every results file of a folder.

  Args:
    folder: directory with one JSON per model.

  Returns:
    Results (dicts as in the files): Clean, Compromised, then the others in the files' order.

  Raises:
    InputError: a file is unreadable or incomplete, Clean or Compromised is missing or duplicated,
      two models share a name, or the models were not evaluated on the same rows.
  """
  folder = places.place(folder)
  pairs = [(path, read(path)) for path in sorted(folder.glob("*.json"))]
  by_name, by_role = {}, {}
  for path, result in pairs:
    name, role = result["salmu_jax"]["model"], result["salmu_jax"]["role"]
    other = by_name.get(name) or (by_role.get(role) if role != "unlearned" else None)
    if other:
      raise InputError(
        f"{path} and {other} both hold model {name!r} (role {role!r}). Names must differ, with one "
        "Clean and one Compromised model: remove one of the files."
      )
    by_name[name] = by_role[role] = path
  for role in ("clean", "compromised"):
    if role not in by_role:
      raise InputError(
        f"{folder} has {len(pairs)} results files, none with role {role!r}, so a bound to compare "
        f"models with is missing. Evaluate the {role.capitalize()} model and put its JSON there."
      )
  _check_same(pairs)
  _check_attacks(pairs)
  _check_starts(pairs)
  return sorted((r for _, r in pairs), key=lambda r: ROLES.index(r["salmu_jax"]["role"]))


def check_others(folder: str | os.PathLike, names: Collection[str], about: Mapping) -> None:
  """Raises InputError if a folder has other results that are not comparable with those of a run.

  Args:
    folder: directory with one JSON per model, or none yet.
    names: of the models that the run evaluates; their files are not read.
    about: what the run's results will state under `salmu_jax`: the manifest of the release,
      `evaluation`, `attacks`, and the digest of the Compromised model as `start`.
  """
  folder, ours = places.place(folder), json.loads(json.dumps(about))
  for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
    if path.stem in names:
      continue
    result = read(path)
    theirs = result["salmu_jax"]
    manifests = [one["release"]["manifest_sha256"] for one in (ours, theirs)]
    different = {
      "release": manifests[0] != manifests[1],
      "evaluation": ours["evaluation"] != theirs["evaluation"],
      "Compromised model": theirs["start"] not in (None, ours["start"]),
      "attacks": not attacked_alike({"salmu_jax": ours}, result),
    }
    if any(different.values()):
      what = " and ".join(name for name, differs in different.items() if differs)
      raise InputError(
        f"{path} has another {what} than this run, so its numbers are not comparable with those of "
        "the run. Remove that file, or choose another --workdir."
      )
    if theirs["model"] in names or theirs["role"] != "unlearned":
      raise InputError(
        f"{path} holds the model {theirs['model']!r} (role {theirs['role']!r}), which this run "
        "evaluates itself. Remove that file, or choose another --workdir."
      )


def _check(path, result):
  """Raises InputError unless `result` has every key that the report reads."""
  if not isinstance(result, dict):
    raise InputError(f"{path} holds {errors.kind(result)}; a results file is a JSON object.")
  for key, types in FIELDS.items():
    _value(path, result, ("salmu_jax", key), types)
  for key, types in {"name": (str,), **SAME}.items():
    _value(path, result, ("salmu_jax", "release", key), types)
  if not isinstance(result["salmu_jax"].get("additional", {}), dict):
    raise InputError(f"{path}: salmu_jax.additional must be an object. Evaluate the model again.")
  for metric in METRICS.values():
    if lookup.required(metric, result):
      _value(path, result, metric.path, (int, float, type(None)))
  for metric in metrics_table.plotted().values():
    if lookup.required(metric, result):
      _value(path, result, metric.rows, (list,))
  for at, point in enumerate(result["salmu_jax"]["curve"]):
    if not isinstance(point, dict) or not isinstance(point.get("step"), int | float):
      raise InputError(f"{path}: salmu_jax.curve[{at}] must be an object with a number `step`.")
  additional.check(path, result)
  if not result["salmu_jax"]["model"].strip():
    raise InputError(f"{path}: salmu_jax.model is empty; it must be the model's name.")
  if result["salmu_jax"]["role"] not in ROLES:
    raise InputError(
      f"{path}: salmu_jax.role is {result['salmu_jax']['role']!r}; it must be one of "
      f"{', '.join(ROLES)}."
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
  """Raises InputError when two models were evaluated on different rows or in different ways."""
  (reference_path, reference), *others = pairs
  for path, result in others:
    for key in SAME:
      ours, theirs = (r["salmu_jax"]["release"][key] for r in (result, reference))
      if ours != theirs:
        raise InputError(
          f"{path} was evaluated with release.{key} {ours!r}, {reference_path} with {theirs!r}: "
          "their numbers are not comparable. Evaluate both models on the same release."
        )
    ours, theirs = (r["salmu_jax"]["evaluation"] for r in (result, reference))
    if ours != theirs:
      raise InputError(
        f"{path} was evaluated with {ours}, {reference_path} with {theirs}: their numbers are not "
        "comparable. Evaluate both models with the same config.evaluate."
      )
    ours, theirs = (r["salmu_jax"]["general_knowledge"] for r in (result, reference))
    if ours != theirs:
      raise InputError(
        f"{path} has general_knowledge {ours!r}, {reference_path} has {theirs!r}: GenKnow is not "
        "comparable. Evaluate both models on the same zero-shot set."
      )
    for metric in metrics_table.plotted().values():
      ours, theirs = (_count(r, metric) for r in (result, reference))
      if None not in (ours, theirs) and ours != theirs:
        where = ".".join(metric.rows[:-1])
        raise InputError(
          f"{path} has {ours} scores in {where}, {reference_path} has {theirs}. "
          "Evaluate both models on the same release."
        )


def _count(result, metric):
  """The number of rows of a metric; None where an older file lacks them."""
  rows = rows_at(result, metric.rows)
  return None if rows is None else len(rows)


def _check_attacks(pairs):
  """Raises InputError when two models were attacked in different ways."""
  first: dict[str, tuple] = {}
  for other, result in pairs:
    for attack, settings in attacked_with(result).items():
      path, reference = first.setdefault(attack, (other, settings))
      if settings != reference:
        raise InputError(
          f"{other} was attacked with {attack} {settings}, {path} with {reference}: their numbers "
          "are not comparable. Attack both models with the same config.attacks."
        )


def attacked_with(result: Mapping) -> dict[str, dict]:
  """The attacks on a model: {attack: its settings}."""
  attacks = result["salmu_jax"].get("attacks") or {}
  return {name: attacks.get(name.lower(), {}) for name in attacks.get("names", ())}


def attacked_alike(one: Mapping, other: Mapping) -> bool:
  """Whether each attack that ran on both models had the same settings."""
  ours, theirs = attacked_with(one), attacked_with(other)
  return all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys())


def _check_starts(pairs):
  """Raises InputError when a method did not start from the Compromised model of the folder."""
  starts = {r["salmu_jax"]["role"]: r["salmu_jax"]["start"] for _, r in pairs}
  for path, result in pairs:
    about = result["salmu_jax"]
    if about["role"] == "unlearned" and about["start"] not in (starts["compromised"], None):
      raise InputError(
        f"{path} was unlearned from another Compromised model than the one in this folder, so "
        "these bounds do not apply to it. Unlearn from this one, or remove the file."
      )
