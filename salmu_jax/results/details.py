"""Checks what a results file says of single rows, and of itself in words."""

import unicodedata

from salmu_jax.errors import InputError

_SHOWN = {"split": str, "file_name": str, "name": str, "caption": str, "rank": int, "top": list}


def check(path, result):
  """Raises InputError unless `additional` has the shape that statistics and page read; it may lack
  parts.

  Args:
    path: of the file. result: that has the fields of `results.FIELDS`.
  """
  about = result["salmu_jax"]
  for key, text in {"model": about["model"], **_texts(about["release"])}.items():
    if any(unicodedata.category(character) == "Cc" for character in text):
      raise InputError(f"{path}: salmu_jax.{key} is {text!r}; it must hold no control characters.")
  additional = about.get("additional", {})
  _must(isinstance(additional, dict), path, "additional", "an object")
  if additional.get("rows") is not None:
    _check_rows(path, result, additional["rows"])
  _check_examples(path, additional.get("examples", []))


def _texts(release):
  return {f"release.{key}": release[key] for key in ("name", "holdout_unit")}


def _check_rows(path, result, rows):
  _must(isinstance(rows, dict), path, "additional.rows", "an object")
  for key, kind in (("groups", dict), ("hits", dict), ("ACS_rows", list)):
    _must(isinstance(rows.get(key), kind), path, f"additional.rows.{key}", f"a {kind.__name__}")
  for name, labels in rows["groups"].items():
    whole = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    _must(whole, path, f"additional.rows.groups.{name}", "a list of texts")
  for name, hits in rows["hits"].items():
    whole = hits is None or (isinstance(hits, list) and all(hit in (0, 1, None) for hit in hits))
    _must(whole, path, f"additional.rows.hits.{name}", "null, or a list of 0, 1 or null")
  for name in ("ACS", "IdZSC", "GenKnow"):
    _must(name in rows["hits"], path, f"additional.rows.hits.{name}", "there")
  count = len(rows["groups"].get("forget", []))
  inside = all(isinstance(row, int) and 0 <= row < count for row in rows["ACS_rows"])
  _must(inside, path, "additional.rows.ACS_rows", f"numbers of the {count} rows of forget")
  for metric, key in (("1.1_RetFail", "outcomes"), ("1.5_CoreAssoc", "scores")):
    found = result["efficacy"][metric].get(key)
    _must(isinstance(found, list), path, f"efficacy.{metric}.{key}", "a list", within="")


def _check_examples(path, examples):
  _must(isinstance(examples, list), path, "additional.examples", "a list")
  for at, each in enumerate(examples):
    where = f"additional.examples[{at}]"
    _must(isinstance(each, dict), path, where, "an object")
    for key, kind in _SHOWN.items():
      _must(isinstance(each.get(key), kind), path, f"{where}.{key}", f"a {kind.__name__}")
    whole = all(isinstance(one, dict) and isinstance(one.get("text"), str) for one in each["top"])
    _must(whole, path, f"{where}.top", "a list of objects with a text")


def _must(fits, path, where, right, within="salmu_jax."):
  if not fits:
    raise InputError(f"{path}: {within}{where} must be {right}. Evaluate the model again.")
