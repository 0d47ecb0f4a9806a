"""The leaderboard from made-up results: table, Markdown, CSV, order, what is missing."""

import io
import json
import math
import re

import pytest
from madeup import (
  FILES,
  HOSTILE_NAMES,
  MADE_UP,
  everything,
  records,
  report,
  result,
  tables,
  with_facts,
  with_rows,
)
from rich.console import Console

from salmu_jax.report import leaderboard, leaderboard_terminal, writing
from salmu_jax.results.diagnosis import diagnose
from salmu_jax.results.lookup import flatten, rows_at
from salmu_jax.results.metrics_table import METRICS


def test_files_and_table_agree_with_the_results(tmp_path):
  results = [with_facts(with_rows(result)) for result in everything()]
  folder, printed = tables(tmp_path, *results)
  rows = json.loads((folder / "leaderboard.json").read_text())
  text = (folder / "leaderboard.md").read_text()
  text, further, *_ = text.split("\n## ")
  assert len(rows) == len(records(folder)) == len(results)
  for row, record in zip(rows, records(folder), strict=True):
    source = next(r for r in results if r["salmu_jax"]["model"] == row["model"])
    released = cells_of(text, row["model"])
    own = cells_of(further, row["model"])
    assert released[-1] == row["verdict"] == record["verdict"]
    assert own[-1] == row["strict_verdict"] == record["strict_verdict"]
    shown = {True: iter(released[2:]), False: iter(own[2:])}
    for key, metric in METRICS.items():
      value = rows_at(source, metric.path)
      bound = results[0 if metric.bound == "clean" else 1]
      distance = value - rows_at(bound, metric.path)
      assert row["scores"][key] == float(record[key]) == value
      assert row["distances"][key] == float(record[f"{key}_distance"]) == pytest.approx(distance)
      if metric.listed:
        text_of, _, apart = next(shown[metric.path[0] != "salmu_jax"]).partition(" ")
        assert float(text_of) == round(value, 3)
        assert float(apart.strip("()")) == pytest.approx(distance, abs=5.01e-4)
        assert f"{value:.3f}".replace("0.", ".", 1) in printed


def cells_of(text, model):
  line = next(line for line in text.splitlines() if line.startswith(f"| {model} |"))
  return [cell.strip() for cell in line.strip("|").split("|")]


def test_order_is_bounds_then_strongest_weakest_share(tmp_path):
  assert [row["model"] for row in leaderboard.rows(everything())] == [
    "clean",
    "compromised",
    "surgery",  # passes
    "shuffled_captions",  # keeps 39 % of the holdout gap
    "finetune",  # keeps 37 % of it
    "generic_captions",  # removes 27 % of the leak
  ]


def test_order_does_not_depend_on_the_order_of_the_files(tmp_path):
  folder, printed = tables(tmp_path / "a", *everything())
  turned, printed_again = tables(tmp_path / "b", *everything()[::-1])
  assert printed == printed_again
  for name in FILES[:3]:
    assert (folder / name).read_bytes() == (turned / name).read_bytes()


def test_verdict_column_is_the_diagnosis(tmp_path):
  verdicts = {row["model"]: row["verdict"] for row in leaderboard.rows(everything())}
  values = {r["salmu_jax"]["model"]: flatten(r) for r in everything()}
  for name in list(MADE_UP)[2:]:
    expected = diagnose(values[name], values["clean"], values["compromised"])
    assert verdicts[name] == expected.word
  assert verdicts["surgery"] == "passes"
  assert verdicts["clean"] == verdicts["compromised"] == "bound"


def test_paragraph_names_how_the_models_were_judged(tmp_path):
  results = everything()
  results[3]["salmu_jax"]["budget"] = 2.5
  folder, _ = tables(tmp_path, *results)
  paragraph = (folder / "leaderboard.md").read_text().split("\n\n")[1]
  for part in ("mini", "fact", "2,001", "2.5x, 5x", "Seed: 0", "120 classes x 20", "cpu x 1"):
    assert part in paragraph


def test_missing_general_knowledge_is_shown_as_missing(tmp_path):
  results = everything()
  for entry in results:
    entry["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] = None
    entry["salmu_jax"]["general_knowledge"] = None
  folder, printed = tables(tmp_path, *results)
  assert printed.count("missing") == len(results)
  rows = json.loads((folder / "leaderboard.json").read_text())
  assert all(row["scores"]["GenKnow"] is row["distances"]["GenKnow"] is None for row in rows)
  assert {record["GenKnow"] for record in records(folder)} == {"missing"}
  text = (folder / "leaderboard.md").read_text()
  assert text.count("| missing |") == len(results)
  assert "GenKnow ran on: missing" in text


def test_model_without_a_deciding_number_is_last_and_not_judged(tmp_path):
  results = everything()
  lost = results[2]["utility"]["2.2_InterIdSim"]
  lost["mean"], lost["scores"] = None, [None] * len(lost["scores"])
  folder, _ = tables(tmp_path, *results)
  last = json.loads((folder / "leaderboard.json").read_text())[-1]
  assert (last["model"], last["verdict"]) == ("finetune", "not judged, numbers missing")
  assert last["inter_kept"] is None


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_survive(tmp_path, name):
  results = [*everything()[:3], result("surgery", model=name)]
  folder, printed = tables(tmp_path, *results)
  assert name in [row["model"] for row in json.loads((folder / "leaderboard.json").read_text())]
  assert name in [record["model"] for record in records(folder)]
  assert name.split()[0] in printed
  measured = (folder / "leaderboard.md").read_text().split("\n## ")[0]
  lines = [line for line in measured.split("\n") if line[:1] == "|"]
  assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {15}
  assert "<b>" not in "".join(lines)


def test_numbers_that_are_not_finite_are_shown_as_missing(tmp_path):
  results = everything()
  results[2]["efficacy"]["1.2_AssocStr"]["mean"] = math.nan
  results[3]["utility"]["2.2_InterIdSim"]["mean"] = math.inf
  folder, printed = tables(tmp_path, *results)
  rows = {row["model"]: row for row in json.loads((folder / "leaderboard.json").read_text())}
  assert rows["finetune"]["scores"]["AssocStr"] is None
  assert rows["shuffled_captions"]["verdict"] == "not judged, numbers missing"
  assert "missing" in printed


def test_foreign_weights_and_a_release_read_from_elsewhere_are_judged_like_the_rest(tmp_path):
  theirs = result("finetune", model="theirs")
  theirs["salmu_jax"] |= {"start": None, "method": None, "budget": None, "reads": []}
  theirs["salmu_jax"]["release"]["name"] = "a copy of mini"
  folder, printed = tables(tmp_path, *everything(), theirs)
  mine, other = (
    next(r for r in records(folder) if r["model"] == n) for n in ("finetune", "theirs")
  )
  assert other["verdict"] == mine["verdict"] and "theirs" in printed


def test_models_without_general_knowledge_are_not_judged_but_listed(tmp_path):
  results = everything()
  results[1]["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] = 0.0
  folder, _ = tables(tmp_path, *results)
  verdicts = {row["verdict"] for row in records(folder)[2:]}
  assert verdicts == {"not judged, Compromised has no GenKnow to lose"}


def test_narrow_console_loses_no_number():
  printed = []
  for width in (60, 100):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    leaderboard_terminal.show(leaderboard.rows(everything()), console)
    printed.append([x for x in console.file.getvalue().splitlines() if re.search(r" \.\d{3} ", x)])
  assert printed[0] == printed[1] and "\u2026" not in "".join(printed[0])
  (line,) = (line for line in printed[0] if line.startswith("surgery"))
  assert len(re.findall(r" \.\d{3}", line)) == 11


def imported():
  """Results whose Clean and Compromised were brought in as weights, without a history."""
  results = everything()[:3]
  for bound in results[:2]:
    unknown = dict.fromkeys(("seed", "steps", "wall_seconds", "device"))
    bound["salmu_jax"] |= unknown | {"reads": [], "curve": []}
    bound["salmu_jax"]["settings"] = {"source": "hub:a/b", "sha256": None}
  return results


def test_imported_weights_have_no_history_and_tables_say_so(tmp_path):
  folder = report(tmp_path, *imported())
  assert all((folder / name).stat().st_size > 10_000 for name in FILES[3:6])
  paragraph = (folder / "leaderboard.md").read_text().split("\n\n")[1]
  assert "Seed: 0 (missing for clean, compromised)." in paragraph
  assert "Device: cpu x 1 (missing for clean, compromised)." in paragraph
  histories = [(r["seed"], r["steps"]) for r in records(folder)]
  assert histories == [("missing",) * 2] * 2 + [("0", "100")]
  rows = json.loads((folder / "leaderboard.json").read_text())
  for key in ("seed", "steps", "wall_seconds", "device"):
    assert rows[0][key] is rows[1][key] is None is not rows[2][key]
  assert rows[0]["reads"] == []
  assert writing.is_current(tmp_path / "results", folder)


def test_bounds_alone_that_were_imported_have_no_seed_at_all(tmp_path):
  folder, _ = tables(tmp_path, *imported()[:2])
  paragraph = (folder / "leaderboard.md").read_text().split("\n\n")[1]
  assert "Seed: missing. " in paragraph and paragraph.endswith("Device: missing.")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-x", "@a", '=HYPERLINK("x")'])
def test_a_name_that_looks_like_a_formula_is_text_in_a_spreadsheet(name, tmp_path):
  folder, _ = tables(tmp_path, *everything()[:2], result("finetune", model=name))
  row = records(folder)[2]
  assert row["model"] == f"'{name}"
  assert float(row["VisIdInt_distance"]) < 1  # numbers keep their sign


@pytest.mark.parametrize(
  "name, shown",
  [
    ("http://a.example", r"http\://a.example"),
    ("www.a.example", r"www\.a.example"),
    ("@somebody", r"\@somebody"),
    ("$x$", r"\$x\$"),
    ("![i](x)", r"!\[i\](x)"),
    ("<script>", "&lt;script&gt;"),
    ("a|`b`", r"a\|\`b\`"),
  ],
)
def test_a_name_is_text_in_markdown(name, shown, tmp_path):
  folder, _ = tables(tmp_path, *everything()[:2], result("finetune", model=name))
  assert f"\n| {shown} | 5x |" in (folder / "leaderboard.md").read_text()
