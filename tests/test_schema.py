"""The published schema of results files: it holds for the kept ones, and says what the code
says.
"""

import jsonschema
import pytest
from submissions import NAMES, small, whole

from salmu_jax.data import pipeline
from salmu_jax.evaluate import breakdown
from salmu_jax.results import reading, row_checks, schema
from salmu_jax.results.scores import METRICS, RECOVERABILITY
from salmu_jax.runtime import files


@pytest.mark.parametrize("name", NAMES)
def test_kept_results_are_as_the_schema_says(name):
  result = whole(name)
  assert list(schema.invalid(result)) == []
  others = set() if result["salmu_jax"]["role"] == "unlearned" else {("salmu_jax", "role")}
  assert set(row_checks.problems(result, whole("compromised"), set())) == others


def test_file_as_it_is_written_by_an_evaluation_is_read_back_the_same(tmp_path):
  files.write_json(tmp_path / "mine.json", small("vlunlearn"))
  assert schema.read(tmp_path / "mine.json") == small("vlunlearn")


def subschemas(node):
  if isinstance(node, dict):
    yield node
    for each in node.values():
      yield from subschemas(each)


def test_schema_is_a_schema_and_says_of_every_property_what_it_is():
  jsonschema.Draft202012Validator.check_schema(schema.SCHEMA)
  named = 0
  for node in subschemas(schema.SCHEMA):
    for part in (*node.get("properties", {}).values(), node.get("items")):
      if isinstance(part, dict) and "type" in node:
        named += 1
        whole = schema.SCHEMA["$defs"].get(part.get("$ref", "").rpartition("/")[2], {}) | part
        assert whole["description"], part
  assert named > 90


def test_schema_knows_what_the_code_knows():
  about = schema.SCHEMA["$defs"]["provenance"]
  assert set(reading.FIELDS) <= set(about["required"])
  assert tuple(about["properties"]["role"]["enum"]) == reading.ROLES
  readable = {*pipeline.READABLE["forget"], *pipeline.READABLE["retain"]}
  assert set(about["else"]["properties"]["reads"]["items"]["enum"]) == readable
  everything = {split for splits in pipeline.READABLE.values() for split in splits}
  assert set(about["properties"]["reads"]["items"]["enum"]) == everything
  additional = schema.SCHEMA["$defs"]["additional"]["properties"]
  assert set(additional["recoverability"]["properties"]) == set(RECOVERABILITY)
  parts = schema.SCHEMA["$defs"]["parts"]["properties"]
  assert tuple(parts) == breakdown.KINDS
  for metric in METRICS.values():
    pillar, id, _ = metric.path
    assert id in schema.SCHEMA["properties"][pillar]["required"]
