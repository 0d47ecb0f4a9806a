"""The JSON schema of results files, made from results.schema.json and the metrics table."""

import argparse
import copy
import functools
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jsonschema

from salmu_jax.results import breakdown, lookup, metrics_table, recoverability
from salmu_jax.results.metrics_table import METRICS, Metric
from salmu_jax.results.reductions import REDUCTIONS
from salmu_jax.results.splits import SPLITS, Split, count_path, grouped, readable
from salmu_jax.runtime import files, pipes

Path = tuple[str | int, ...]
_FRAME_DEPTH = 3  # keys of a path within `salmu_jax.release`, `.evaluation` and `.additional`
_LONG = 100  # longer than any list whose length the schema limits

_FRAME = files.read_json(pathlib.Path(__file__).with_name("results.schema.json"))
_SHARE, _COSINE = {"$ref": "#/$defs/share"}, {"$ref": "#/$defs/cosine"}
# Kind of a metric's rows -> (description of the rows, schema of one row, schema of their number).
_KINDS = {
  "rank": (
    "the rank of each row of {split} in the release's order, 0 for the best",
    {
      "description": "a rank, a whole number from 0 on and below `{gallery}`",
      "type": "integer",
      "minimum": 0,
    },
    _SHARE,
  ),
  "cosine": ("a cosine for each row of {split}, in the release's order", _COSINE, _COSINE),
  "share": (
    "a number from 0 to 1 for each row of {split} in `{cases}`",
    {"description": "a number from 0 to 1", **_SHARE},
    _SHARE,
  ),
  "hit": (
    "1 where a case of {split} was right, else 0",
    {"description": "1 or 0", "type": "integer", "enum": [0, 1]},
    _SHARE,
  ),
}
_CASE = {"description": "the number of a row, from 0", "$ref": "#/$defs/count"}


def make(version: int | None = None) -> dict:
  """The whole schema.

  Args:
    version: of the results file; newer metrics may be missing. None: the newest version.
  """
  schema = copy.deepcopy(_FRAME)
  version = metrics_table.file_version() if version is None else version
  for metric in METRICS.values():
    _describe(schema, metric, metric.since <= version)
  additional = ("salmu_jax", "additional")
  for name in grouped(version):
    _require(schema, (*additional, "rows", "groups"), name)
    _require(schema, ("salmu_jax", "release", count_path(name)[0]), name)
  for split, metrics in breakdown.parts().items():
    required = any(metric.since <= version for metric in metrics.values())
    _put(schema, (*additional, "breakdown", split), _broken_down(metrics, split, version), required)
  about = schema["$defs"]["provenance"]
  unlearning = {split for half in ("forget", "retain") for split in readable(half)}
  attack, example = (schema["$defs"][name]["properties"] for name in ("attack", "example"))
  attack["reduction"]["enum"] = list(recoverability.REDUCTIONS)
  example["split"]["enum"] = [name for name, split in SPLITS.items() if split.examples]
  in_order = [split for split in SPLITS if SPLITS[split].readers]
  about["properties"]["reads"]["items"]["enum"] = in_order
  about["else"]["properties"]["reads"]["items"]["enum"] = [s for s in in_order if s in unlearning]
  return schema


def _describe(schema: dict, metric: Metric, required: bool) -> None:
  """Adds a metric's number, rows and cases at their places in a results file."""
  rows, row, number = _KINDS[metric.kind]
  optional = metric.optional
  if metric.gallery:
    row = {**row, "description": row["description"].format(gallery=_short(metric.gallery))}
    ranked = f"how many captions each picture of {metric.split} is ranked against, its own included"
    _put(schema, metric.gallery, {"description": ranked, "type": "integer", "minimum": 1}, required)
  words = REDUCTIONS[metric.reduction].words.format(f"`{_short(metric.rows)}`")
  value = {"description": f"{metric.about}: {words}", **number}
  if optional:
    value = {
      "description": f"{metric.about}: {words}; null where there was nothing to measure it on",
      "type": ["number", "null"],
      "minimum": 0,
      "maximum": 1,
    }
  _put(schema, metric.path, value, required)
  listed = {
    "description": rows.format(split=metric.split, cases=_short(metric.cases))
    + ("; null where there are none" * optional),
    "type": ["array", "null"] if optional else "array",
    "minItems": 1,
    "items": row,
  }
  _put(schema, metric.rows, listed, required)
  if metric.cases:
    words = f"the row of {metric.split} that each entry of `{_short(metric.rows)}` is of"
    cases = {**listed, "description": words, "items": _CASE}
    _put(schema, metric.cases, cases, required)
  if metric.path[0] != "salmu_jax":
    _resolved(schema, metric.path[:2])["description"] = metric.about


def _short(path: Path) -> str:
  """A path as descriptions show it, starting below `salmu_jax` or the metric's own object."""
  return ".".join(map(str, path[1:] if path[:1] == ("salmu_jax",) else path[2:]))


def _broken_down(metrics: Mapping[str, Metric], split: str, version: int) -> dict:
  """The schema of one split of the breakdown."""
  parts = {"rows": {"description": "how many rows", "type": "integer", "minimum": 1}}
  for part, metric in metrics.items():
    words = REDUCTIONS[metric.reduction].words.format("these rows")
    parts[part] = {"description": words, **_KINDS[metric.kind][2]}
    if metric.cases:
      parts[breakdown.count_of(part)] = {
        "description": f"how many rows {part} is of",
        **parts["rows"],
      }
  of_all_rows = [part for part, m in metrics.items() if m.since <= version and not m.cases]
  group = {
    "description": "the rows that have this label: their number and their means",
    "type": "object",
    "required": ["rows", *of_all_rows],
    "additionalProperties": False,
    "properties": parts,
  }
  kinds = {
    kind: {
      "description": f"the rows of each {word}",
      "type": "object",
      "minProperties": 1,
      "additionalProperties": group,
    }
    for kind, word in breakdown.KINDS.items()
  }
  return {
    "description": f"of {split}",
    "type": "object",
    "required": ["identity"],
    "additionalProperties": False,
    "properties": kinds,
  }


def _put(schema: dict, path: Path, node: dict, required: bool) -> None:
  """Sets the schema of the value at a path, and creates missing objects on the way."""
  parent = schema
  for depth, key in enumerate(path):
    parent = _target(schema, parent)
    properties = parent.setdefault("properties", {})
    if required and key not in parent.setdefault("required", []):
      parent["required"].append(key)
    if depth == len(path) - 1:
      properties[key] = node
    else:
      between = {"description": f"of {key}", "type": "object", "additionalProperties": False}
      parent = properties.setdefault(key, between)


def _require(schema: dict, path: Path, key: str) -> None:
  node = _resolved(schema, path)
  node["required"] = [*node.get("required", []), key]


def _resolved(schema: dict, path: Path) -> dict:
  """The schema of the object at a path."""
  node = schema
  for key in path:
    node = _target(schema, node)["properties"][key]
  return _target(schema, node)


def _target(schema: dict, node: dict) -> dict:
  """A node, or the definition that it refers to."""
  return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


@functools.lru_cache(maxsize=8)
def _validator(
  version: int, rows: tuple[tuple[str, Metric | Split], ...]
) -> jsonschema.Draft202012Validator:
  del rows  # the two tables that the schema is made from, as part of the cache key
  return jsonschema.Draft202012Validator(make(version))


class Fault(NamedTuple):
  """A place where a results file violates the schema.

  Attributes:
    path: of the value. words: what was found, and what would be right.
    tolerable: whether a table can still be made: a number or a field of the frame is missing, a
      field is of another version, or a name is not valid as a file name.
  """

  path: Path
  words: str
  tolerable: bool


def invalid(result: Any) -> Iterator[tuple[Path, str]]:
  """(path, words) of each violation of the schema."""
  for fault in faults(result):
    yield fault.path, fault.words


def faults(result: Any) -> Iterator[Fault]:
  """The violations of the schema."""
  version = lookup.version_of(result) if isinstance(result, Mapping) else 1
  validator = _validator(version, (*METRICS.items(), *SPLITS.items()))
  if not validator.is_valid(_thinned(result)):
    for error in validator.iter_errors(result):
      yield from _faults_of(error, validator.schema)


def _faults_of(error, schema):
  path = tuple(error.absolute_path)
  if error.validator == "required":
    for name in error.validator_value:
      if name not in error.instance:
        where = (*path, name)
        words = f"missing; should be {_described(schema, where)}"
        number = _is_number(_target(schema, _inside(error.schema, name) or {}))
        yield Fault(where, words, number or len(where) <= _FRAME_DEPTH)
  elif error.validator == "additionalProperties":
    for name in sorted(error.instance.keys() - error.schema["properties"].keys()):
      yield Fault((*path, name), "unknown; should be left out", True)
  else:
    limit = "" if error.validator == "pattern" else f" ({error.validator}: {error.validator_value})"
    words = f"{found(error.instance)}; should be {_described(schema, path)}{limit}"
    missing = error.instance is None and (_is_number(error.schema) or len(path) < _FRAME_DEPTH)
    yield Fault(path, words, missing or error.validator == "pattern")


def _is_number(node):
  """Whether a schema is that of a number."""
  kinds = node.get("type", ())
  return bool({"number", "integer"} & {kinds if isinstance(kinds, str) else None, *kinds})


def _thinned(value):
  """A smaller value that is valid exactly if the whole is, for speed.

  A long list of numbers keeps its extremes and one fraction, a long list of strings its first.
  """
  if isinstance(value, dict):
    return {key: _thinned(item) for key, item in value.items()}
  if not isinstance(value, list):
    return value
  kinds = set(map(type, value))
  if len(value) > _LONG and kinds <= {int, float}:
    return [min(value), max(value), *[x for x in value if x % 1][:1]]
  if len(value) > _LONG and kinds == {str}:
    return value[:1]
  return [_thinned(item) for item in value]


def _described(schema: dict, path: Path) -> str:
  """What the schema says of the value at a path."""
  nodes = list(_nodes(schema, schema))
  for key in path:
    inner = [_inside(node, key) for node in nodes]
    nodes = [part for node in inner if isinstance(node, dict) for part in _nodes(schema, node)]
  return [node["description"] for node in nodes if "description" in node][-1]


def _nodes(schema: dict, node: dict) -> Iterator[dict]:
  """The parts of a schema that apply to the same value, the most specific last."""
  if "$ref" in node:
    yield from _nodes(schema, _target(schema, node))
  yield node
  if "else" in node:
    yield node["else"]


def _inside(node, key):
  if isinstance(key, int):
    return node.get("items")
  return node.get("properties", {}).get(key, node.get("additionalProperties"))


def found(value: Any) -> str:
  """The words of a message for a value that was found."""
  return f"found {short(value)}"


def short(value: Any) -> str:
  """A value in one line of a message."""
  if isinstance(value, dict):
    return "an object"
  if isinstance(value, list):
    return f"a list of {len(value)}"
  text = "null" if value is None else repr(value)
  return text if len(text) <= 80 else f"{text[:77]}..."


def dotted(path: Path) -> str:
  """A path as text; names in it are not trusted."""
  shown = (
    f"[{key}]" if isinstance(key, int) else f".{key if key.isprintable() else ascii(key)}"
    for key in path
  )
  return "".join(shown).removeprefix(".") or "the file"


if __name__ == "__main__":
  with pipes.ending_quietly():
    argparse.ArgumentParser(
      prog="python -m salmu_jax.results.schema",
      description="Prints the JSON schema of results files. It reads no file.",
    ).parse_args()
    print(json.dumps(make(), indent=1))
