"""The published schema of results files: it holds for the kept ones, and says what the code
says.
"""

import jsonschema
import pytest
from submissions import NAMES, small, whole

from salmu_jax.benchmark import configuration
from salmu_jax.data import pipeline
from salmu_jax.methods import runs
from salmu_jax.results import breakdown, reading, row_checks, schema, strict
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.runtime import files


@pytest.mark.parametrize("name", NAMES)
def test_kept_results_are_as_the_schema_says(name):
  result = whole(name)
  assert list(schema.invalid(result)) == []
  others = set() if result["salmu_jax"]["role"] == "unlearned" else {("salmu_jax", "role")}
  assert set(row_checks.problems(result, whole("compromised"), set())) == others


def test_what_a_submission_may_say_of_a_run_is_what_a_config_may_ask_for():
  said = schema.make()["$defs"]["provenance"]["properties"]
  seed, budget = configuration.RANGES["seed"], runs.RANGES["budget"]
  assert (said["seed"]["minimum"], said["seed"]["maximum"]) == (seed.low, seed.high)
  assert (said["budget"]["minimum"], said["budget"]["maximum"]) == (budget.low, budget.high)


def test_file_as_it_is_written_by_an_evaluation_is_read_back_the_same(tmp_path):
  files.write_json(tmp_path / "mine.json", small("vlunlearn"))
  assert strict.read(tmp_path / "mine.json") == small("vlunlearn")


def subschemas(node):
  if isinstance(node, dict):
    yield node
    for child in node.values():
      yield from subschemas(child)


def test_schema_is_a_schema_and_says_of_every_property_what_it_is():
  jsonschema.Draft202012Validator.check_schema(schema.make())
  named = 0
  for node in subschemas(schema.make()):
    for part in (*node.get("properties", {}).values(), node.get("items")):
      if isinstance(part, dict) and "type" in node:
        named += 1
        whole = schema.make()["$defs"].get(part.get("$ref", "").rpartition("/")[2], {}) | part
        assert whole["description"], part
  assert named > 90


def test_schema_knows_what_the_code_knows():
  about = schema.make()["$defs"]["provenance"]
  assert set(reading.FIELDS) <= set(about["required"])
  assert tuple(about["properties"]["role"]["enum"]) == reading.ROLES
  readable = {*pipeline.READABLE["forget"], *pipeline.READABLE["retain"]}
  assert set(about["else"]["properties"]["reads"]["items"]["enum"]) == readable
  everything = {split for splits in pipeline.READABLE.values() for split in splits}
  assert set(about["properties"]["reads"]["items"]["enum"]) == everything
  additional = schema.make()["$defs"]["additional"]["properties"]
  for split, parts in breakdown.parts().items():
    kinds = additional["breakdown"]["properties"][split]["properties"]
    assert tuple(kinds) == tuple(breakdown.KINDS)
    for kind in kinds.values():
      of_all_rows = {part for part, metric in parts.items() if not metric.cases}
      assert set(kind["additionalProperties"]["required"]) == {"rows", *of_all_rows}
      assert parts.keys() <= kind["additionalProperties"]["properties"].keys()
  for metric in METRICS.values():
    if metric.since == 1:
      pillar, id, _ = metric.path
      assert id in schema.make()["properties"][pillar]["required"]
    else:
      assert metric.id in additional["metrics"]["required"]
