"""Rows of a submission that are not the release's, and attacks that do not add up, are refused."""

import copy

import pytest
from submissions import MINE, PERSON, SMALL, at, changed, example, put, refused

from salmu_jax.report import submit
from salmu_jax.runtime import files

ROWS = ("salmu_jax", "additional", "rows")
PARTS = ("salmu_jax", "additional", "breakdown", "forget")


@pytest.mark.parametrize(
  "keys, value, named",
  [
    ((*ROWS, "groups", "forget", 5), "person 9", PERSON.replace("person 0", "person 1.rows")),
    (
      (*ROWS, "groups", "retain_joint", 5),
      "person 9",
      "salmu_jax.additional.rows.groups.retain_joint[5]",
    ),
    ((*ROWS, "groups", "fragile_set"), ["a"], "salmu_jax.additional.rows.groups.fragile_set"),
    ((*ROWS, "groups", "zero_shot"), ["a"], "salmu_jax.additional.rows.hits.GenKnow"),
    ((*ROWS, "ACS_rows", 1), 39, "salmu_jax.additional.rows.ACS_rows[1]"),
    ((*ROWS, "ACS_rows", 1), 40, "salmu_jax.additional.rows.ACS_rows[1]"),
    ((*ROWS, "hits", "IdZSC"), [1, 0], "salmu_jax.additional.rows.hits.IdZSC"),
    ((*ROWS, "hits", "GenKnow"), None, "salmu_jax.additional.rows.hits.GenKnow"),
    ((*ROWS, "hits", "ACS", 3), None, "salmu_jax.additional.rows.hits.ACS[3]"),
    ((*ROWS, "hits", "ACS", 3), 2, "salmu_jax.additional.rows.hits.ACS[3]"),
    (("efficacy", "1.1_RetFail", "outcomes", 3), 2001, "efficacy.1.1_RetFail.outcomes[3]"),
    (("efficacy", "1.1_RetFail", "outcomes", 3), -1, "efficacy.1.1_RetFail.outcomes[3]"),
    (("efficacy", "1.1_RetFail", "outcomes", 3), 1.5, "efficacy.1.1_RetFail.outcomes[3]"),
    (("utility", "2.5_FragSim", "scores"), [0.5], "utility.2.5_FragSim.scores"),
    ((*PARTS, "identity", "person 0", "similarity"), 0.9, f"{PERSON}.similarity"),
    ((*PARTS, "identity", "person 0", "MRR"), 0.9, f"{PERSON}.MRR"),
    ((*PARTS, "identity", "person 0", "rows"), 5, f"{PERSON}.rows"),
    ((*PARTS, "field", "city", "rows"), 19, "salmu_jax.additional.breakdown.forget.field.rows"),
    ((*PARTS, "field", "city", "MRR"), 0.9, "salmu_jax.additional.breakdown.forget.field.MRR"),
    ((*PARTS, "style"), {}, "salmu_jax.additional.breakdown.forget.style"),
    (("utility", "2.6_More"), {}, "utility.2.6_More"),
    (("more",), {}, "more"),
    (
      ("salmu_jax", "additional", "recoverability"),
      {"Readout": {}},
      "salmu_jax.additional.recoverability.Readout.value",
    ),
    (("salmu_jax", "additional", "examples"), [example()], "salmu_jax.additional.examples"),
    (("salmu_jax", "curve"), [{"loss": 1.0}], "salmu_jax.curve[0].step"),
    (("salmu_jax", "device"), "cpu \x1b[2J", "salmu_jax.device"),
    (("salmu_jax", "settings", "a"), "\ud800", "salmu_jax.settings.a"),
  ],
)
def test_rows_that_are_not_the_release_s_are_refused(board, keys, value, named):
  lines = refused(board, changed(*keys, value=value))
  assert named in lines, lines


ATTACKED = {
  "Relearning": {
    "value": 0.2,
    "reduction": "mean",
    "parts": {"0.1": 0.2},
    "shares": {"0.1": {"rows": 9, "MRR": {"0": 0.1, "5": 0.9, "20": 0.2}}},
  },
  "Membership": {
    "value": 0.6,
    "reduction": "mean",
    "parts": {"calibrated": 0.6},
    "calibrated": {"auc": 0.6},
  },
  "Readout": {
    "value": 0.5,
    "reduction": "mean",
    "parts": {"a": 0.4, "b": 0.6},
    "value_from_picture": {"a": {"accuracy": 0.4}, "b": {"accuracy": 0.6}},
  },
  "Rephrasing": {
    "value": 0.3,
    "reduction": "max",
    "parts": {"translated": 0.3, "x": 0.1},
    "asked": {
      "own wording": {"MRR": 0.9},
      "name alone": {"MRR": 0.8},
      "translated": {"MRR": 0.3},
      "x": {"MRR": 0.1},
    },
  },
  "Gallery": {"value": 0.7, "reduction": "mean", "parts": {"MRR": 0.7}, "MRR": 0.7},
}


@pytest.mark.parametrize("name", ATTACKED)
def test_an_attacks_number_that_its_parts_do_not_have_is_refused(board, name):
  result = copy.deepcopy(MINE)
  result["salmu_jax"]["additional"]["recoverability"] = copy.deepcopy(ATTACKED)
  attack = result["salmu_jax"]["additional"]["recoverability"][name]
  result["salmu_jax"].pop("attacks", None)
  where = f"salmu_jax.additional.recoverability.{name}.value"
  for value in (attack["value"] / 2, None, -1):
    attack["value"] = value
    assert list(refused(board, result)) == [where]
  result["salmu_jax"]["additional"]["recoverability"][name] = {"value": 0.5}
  assert list(refused(board, result)) == [where]
  result["salmu_jax"]["additional"]["recoverability"][name] = {"value": 0.5, "why": "nothing"}
  assert list(refused(board, result)) == [where]


def test_attacks_of_another_strength_are_refused(board):
  result = changed("salmu_jax", "attacks", "rephrasing", "rows", value=1)
  result["salmu_jax"]["additional"]["recoverability"] = copy.deepcopy(ATTACKED)
  assert list(refused(board, result)) == ["salmu_jax.attacks.rephrasing.rows"]
  del result["salmu_jax"]["attacks"]
  assert list(refused(board, result)) == ["salmu_jax.attacks"]
  # Who was not attacked has no number that could be unfair.
  del result["salmu_jax"]["additional"]["recoverability"]
  files.write_json(board.parent / "sent.json", result)
  assert submit.submit(board.parent / "sent.json", board).exists()


@pytest.mark.parametrize(
  "change, named",
  [
    ({"parts": {"translated": 0.3}}, "Rephrasing.parts.x"),
    ({"parts": {"translated": 0.3, "x": 0.1, "y": 0.1}}, "Rephrasing.parts.y"),
    ({"reduction": "mean", "value": 0.2}, "Rephrasing.reduction"),
    ({"better": "equal"}, "Rephrasing.better"),
    ({"label": "Harmless"}, "Rephrasing.label"),
    ({"value": None, "why": "nothing to attack", "parts": {}}, "Rephrasing.reduction"),
    ({"interval": [-1e9, 1e9]}, "Rephrasing.interval[0]"),
  ],
)
def test_an_attack_describes_itself_as_the_attack_on_compromised(board, change, named):
  compromised = files.read_json(board / "compromised.json")
  compromised["salmu_jax"]["additional"]["recoverability"] = ATTACKED
  files.write_json(board / "compromised.json", compromised)
  result = copy.deepcopy(MINE)
  result["salmu_jax"]["additional"]["recoverability"] = copy.deepcopy(ATTACKED)
  attack = result["salmu_jax"]["additional"]["recoverability"]["Rephrasing"]
  attack |= change
  if "why" in change:
    del attack["reduction"]
  lines = refused(board, result)
  assert f"salmu_jax.additional.recoverability.{named}" in lines, lines


def test_labels_of_the_breakdown_are_those_of_the_bounds(board):
  result = copy.deepcopy(MINE)
  fields = at(result, *PARTS, "field")
  fields["town"] = fields.pop("city")
  where = "salmu_jax.additional.breakdown.forget.field"
  assert list(refused(board, result)) == [f"{where}.city", f"{where}.town"]


def test_portrait_that_the_bounds_do_not_show_is_refused(board):
  additional = ("salmu_jax", "additional", "examples")
  for name in ("clean", "compromised"):
    result = copy.deepcopy(SMALL[name])
    put(result, *additional, value=[example(rank=0)])
    files.write_json(board / f"{name}.json", result)
  other = example(portrait="data:image/jpeg;base64,AAAA")
  where = "salmu_jax.additional.examples[0].portrait"
  assert list(refused(board, changed(*additional, value=[other]))) == [where]
  script = example(portrait="data:text/html,<script>")
  assert list(refused(board, changed(*additional, value=[script]))) == [where]
  files.write_json(board.parent / "sent.json", changed(*additional, value=[example()]))
  assert submit.submit(board.parent / "sent.json", board).exists()
