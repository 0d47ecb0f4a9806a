"""Checks the shape of what a results file adds to the released layout: rows, groups, examples."""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from salmu_jax.errors import InputError
from salmu_jax.results.lookup import required, rows_at
from salmu_jax.results.metrics_table import METRICS

_ATTACK = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_EXAMPLE = {"split": str, "file_name": str, "name": str, "caption": str, "rank": int, "top": list}


def check(path: Path, result: Mapping) -> None:
  """Raises InputError unless `additional` has the shape that the statistics and the page read.

  Parts of it may be missing.

  Args:
    path: of the file. result: its content, with the fields of `reading.FIELDS`.
  """
  about = result["salmu_jax"]
  for key, text in {"model": about["model"], **_texts(about["release"])}.items():
    if any(unicodedata.category(character) == "Cc" for character in text):
      raise InputError(f"{path}: salmu_jax.{key} is {text!r}; it must hold no control characters.")
  additional = about.get("additional", {})
  if additional.get("rows") is not None:
    _check_rows(path, result, additional["rows"])
  _check_examples(path, additional.get("examples", []))
  _check_attacks(path, additional.get("recoverability"))


def _texts(release):
  return {f"release.{key}": release[key] for key in ("name", "holdout_unit")}


def _check_rows(path, result, rows):
  _must(isinstance(rows, dict), path, "additional.rows", "an object")
  for key in ("groups", "hits"):
    _must(isinstance(rows.get(key), dict), path, f"additional.rows.{key}", "an object")
  for name, labels in rows["groups"].items():
    whole = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    _must(whole, path, f"additional.rows.groups.{name}", "a list of strings")
  for name, hits in rows["hits"].items():
    whole = hits is None or (isinstance(hits, list) and all(hit in (0, 1, None) for hit in hits))
    _must(whole, path, f"additional.rows.hits.{name}", "null, or a list of 0, 1 or null")
  for metric in METRICS.values():
    if required(metric, result):
      _check_metric(path, result, metric, rows["groups"])


def _check_metric(path, result, metric, groups):
  """Checks that the rows of a metric exist, and that its cases are rows of its split."""
  where = ".".join(metric.rows).removeprefix("salmu_jax.")
  within = "salmu_jax." if metric.rows[0] == "salmu_jax" else ""
  if metric.kind == "hit":
    _must(metric.rows[-1] in (rows_at(result, metric.rows[:-1]) or {}), path, where, "present")
  else:
    whole = list | None if metric.optional else list
    right = "a list or null" if metric.optional else "a list"
    _must(isinstance(rows_at(result, metric.rows), whole), path, where, right, within=within)
  if metric.cases:
    count = len(groups.get(metric.split, []))
    cases = rows_at(result, metric.cases)
    where = ".".join(metric.cases).removeprefix("salmu_jax.")
    if cases is None and metric.optional:
      return
    _must(isinstance(cases, list), path, where, "a list")
    inside = all(isinstance(row, int) and 0 <= row < count for row in cases)
    _must(inside, path, where, f"row numbers of {metric.split}, from 0 and below {count}")


def _check_examples(path, examples):
  _must(isinstance(examples, list), path, "additional.examples", "a list")
  for at, example in enumerate(examples):
    where = f"additional.examples[{at}]"
    _must(isinstance(example, dict), path, where, "an object")
    for key, kind in _EXAMPLE.items():
      _must(isinstance(example.get(key), kind), path, f"{where}.{key}", f"a {kind.__name__}")
    top = example["top"]
    whole = all(isinstance(text, dict) and isinstance(text.get("text"), str) for text in top)
    _must(whole, path, f"{where}.top", "a list of objects with a text")


def _check_attacks(path, attacks):
  """Checks that tables can show the names and labels of attacks."""
  _must(isinstance(attacks, dict | None), path, "additional.recoverability", "an object")
  for key, attack in (attacks or {}).items():
    where = f"additional.recoverability.{key!r}"
    _must(_ATTACK.fullmatch(key), path, where, "named by up to 40 letters, digits, - and _")
    _must(isinstance(attack, dict), path, where, "an object")
    label = attack.get("label", "")
    whole = isinstance(label, str) and len(label) <= 200 and label.isprintable()
    _must(whole, path, f"{where}.label", "one line of text, of up to 200 characters")


def _must(fits, path, where, right, within="salmu_jax."):
  if not fits:
    raise InputError(f"{path}: {within}{where} must be {right}. Evaluate the model again.")
