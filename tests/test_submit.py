"""Submitting results to a leaderboard: what is whole is added, what is not is refused by field."""

import copy
import json
import pathlib
import subprocess
import sys

import pytest
from submissions import MINE, SMALL, at, changed, content, refused

from salmu_jax.errors import InputError
from salmu_jax.report import __main__ as command
from salmu_jax.report import submit
from salmu_jax.results import diagnosis, reading, strict
from salmu_jax.results.lookup import flatten
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.runtime import files

ROOT = pathlib.Path(__file__).parents[1]


def test_whole_file_is_added_and_its_standing_told(board, capsys):
  files.write_json(board.parent / "sent.json", MINE)
  before = content(board)
  assert command.main(["submit", str(board.parent / "sent.json"), "--to", str(board)]) == 0
  added = board / "mine.json"
  assert content(board) == {**before, "mine.json": added.read_bytes()}
  assert files.read_json(added) == MINE
  assert [r["salmu_jax"]["model"] for r in reading.read_results(board)][-1] == "mine"
  verdict = diagnosis.diagnose(*map(flatten, (MINE, SMALL["clean"], SMALL["compromised"])))
  printed = capsys.readouterr().out
  assert diagnosis.describe(verdict)[1:] in printed
  assert " of 2 unlearned models" in printed and str(added) in printed
  assert f"python -m salmu_jax.report {board} --out=OUT_DIR" in printed


def test_refusal_is_printed_and_told_by_the_exit_code(board, capsys):
  path = board.parent / "sent.json"
  files.write_json(path, changed("salmu_jax", "seed", value=None))
  assert submit.main([str(path), f"--to={board}"]) == 1
  printed = capsys.readouterr()
  assert printed.out == "" and "\nsalmu_jax.seed: found null; should be the seed" in printed.err


def test_submitting_loads_nothing_that_trains_or_draws(board):
  path = board.parent / "sent.json"
  files.write_json(path, MINE)
  heavy = "{'jax', 'jaxlib', 'orbax', 'flax', 'matplotlib', 'tensorflow_datasets', 'grain'}"
  code = (
    "import sys\nfrom salmu_jax.report import __main__ as command\n"
    f"code = command.main(['submit', {str(path)!r}, '--to', {str(board)!r}])\n"
    f"sys.exit(code or ', '.join(sorted({heavy} & set(sys.modules))) or 0)"
  )
  run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
  assert run.returncode == 0, run.stderr
  assert (board / "mine.json").exists()


@pytest.mark.parametrize("key", METRICS)
@pytest.mark.parametrize("factor", [0.5, 1 + 1e-7])
def test_number_that_does_not_follow_from_its_rows_is_refused(board, key, factor):
  path = METRICS[key].path
  value = at(MINE, *path) * factor or 0.25
  lines = refused(board, changed(*path, value=value))
  assert list(lines) == [".".join(path)]
  assert lines[".".join(path)].startswith(f"found {value!r}; its rows, ")


@pytest.mark.parametrize("key", METRICS)
def test_row_that_was_made_better_is_refused(board, key):
  metric = METRICS[key]
  first = at(MINE, *metric.rows, 0)
  other = {
    "cosine": first - 0.1,
    "rank": 1 - first % 2,
    "hit": 1 - first,
    "share": 0.25 if first != 0.25 else 0.5,
  }
  lines = refused(board, changed(*metric.rows, 0, value=other[metric.kind]))
  assert ".".join(metric.path) in lines or metric.reduction == "R@1"


# Every metric of the released evaluator, and one of each kind that came later.
OF_EACH_KIND = [key for key, m in METRICS.items() if m.since == 1] + [
  "FactLeak_new",
  "InterIdRet_MRR",
]


@pytest.mark.parametrize("key", OF_EACH_KIND)
@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "null", '"0.5"', "true", "9" * 40])
def test_number_that_is_none_is_refused_and_named(board, key, value):
  path = METRICS[key].path
  text = json.dumps(changed(*path, value="HERE")).replace('"HERE"', value)
  lines = refused(board, text)
  assert list(lines) == [".".join(path)]


@pytest.mark.parametrize("value", ["NaN", "null", "-Infinity", "1.1", "[]"])
def test_row_that_is_no_cosine_is_refused_and_named(board, value):
  where = ("efficacy", "1.2_AssocStr", "scores", 7)
  lines = refused(board, json.dumps(changed(*where, value="HERE")).replace('"HERE"', value))
  assert list(lines) == ["efficacy.1.2_AssocStr.scores[7]"]


PROVENANCE = (
  *("model", "role", "method", "settings", "budget", "seed", "steps", "device", "versions"),
  *("reads", "weights_sha256", "evaluation", "prepare_passes", "surrogates", "start", "release"),
  *("release.manifest_sha256", "release.holdout_unit", "release.retrieval_gallery"),
  *("release.fragile_set_sha256", "release.counts", "release.derived", "additional.rows"),
  *("additional.rows.hits", "additional.rows.groups", "additional.breakdown"),
)


@pytest.mark.parametrize("field", PROVENANCE)
def test_missing_provenance_is_refused_and_named(board, field):
  result = copy.deepcopy(MINE)
  *parents, last = field.split(".")
  del at(result["salmu_jax"], *parents)[last]
  lines = refused(board, result)
  assert list(lines) == [f"salmu_jax.{field}"]
  assert lines[f"salmu_jax.{field}"].startswith("missing; should be ")


def test_weights_that_have_other_scores_on_the_leaderboard_are_refused(board):
  clean = SMALL["clean"]["salmu_jax"]["weights_sha256"]
  path = board.parent / "sent.json"
  files.write_json(path, changed("salmu_jax", "weights_sha256", value=clean))
  with pytest.raises(InputError, match=r"weights_sha256: is that of clean, which has other scores"):
    submit.submit(path, board)


@pytest.mark.parametrize(
  "field, value",
  [
    ("method", None),
    ("method", ""),
    ("budget", None),
    ("budget", 1e300),
    ("seed", None),
    ("seed", -1),
    ("curve", [{"step": -1, "loss": None}]),
    ("steps", -1),
    ("steps", 1.5),
    ("device", None),
    ("versions", {}),
    ("versions", {"jax": 1}),
    ("weights_sha256", "ab" * 31),
    ("weights_sha256", "AB" * 32),
    ("weights_sha256", "ab" * 32 + "\n"),
    ("prepare_passes", None),
    ("surrogates", {"count": 1}),
    ("settings", "adam"),
  ],
)
def test_provenance_that_says_nothing_is_refused(board, field, value):
  lines = refused(board, changed("salmu_jax", field, value=value))
  assert all(line.startswith(f"salmu_jax.{field}") for line in lines) and lines


@pytest.mark.parametrize(
  "split", ["holdout_identity", "holdout_association", "sensitive", "zero_shot", "Forget", None]
)
def test_reading_what_no_training_may_read_is_refused(board, split):
  lines = refused(board, changed("salmu_jax", "reads", value=["forget", split]))
  assert list(lines) == ["salmu_jax.reads[1]"]
  words = lines["salmu_jax.reads[1]"]
  assert "voids the result" in words and "'sensitive'" not in words.partition("; ")[2]


@pytest.mark.parametrize("reads", [[], ["forget", "forget"], "forget"])
def test_reads_that_declare_nothing_are_refused(board, reads):
  assert list(refused(board, changed("salmu_jax", "reads", value=reads))) == ["salmu_jax.reads"]


@pytest.mark.parametrize(
  "keys, value",
  [
    (("release", "manifest_sha256"), "cd" * 32),
    (("release", "holdout_unit"), "pair"),
    (("release", "retrieval_gallery"), 2000),
    (("release", "fragile_set_sha256"), "cd" * 32),
    (("release", "counts", "forget"), 41),
    (("release", "derived", "retain_joint"), 9),
    (("evaluation", "seed"), 43),
    (("evaluation", "probe", "c"), 2.0),
    (("evaluation", "more"), 1),
    (("general_knowledge",), "another set"),
    (("start",), "cd" * 32),
  ],
)
def test_model_that_was_judged_otherwise_than_the_bounds_is_refused(board, keys, value):
  lines = refused(board, changed("salmu_jax", *keys, value=value))
  assert f"salmu_jax.{'.'.join(keys)}" in lines
  assert all(line.startswith(f"salmu_jax.{keys[0]}") for line in lines)


def test_start_may_be_unknown(board):
  files.write_json(board.parent / "sent.json", changed("salmu_jax", "start", value=None))
  assert submit.submit(board.parent / "sent.json", board) == board / "mine.json"


@pytest.mark.parametrize(
  "name",
  [
    "",
    "a/b",
    "a\\b",
    "..",
    ".hidden",
    "a\n",
    "a b",
    "a\x00",
    "é",
    "x" * 101,
    "finetune",
    "FineTune",
    "clean",
    "noted",
  ],
)
def test_name_that_is_no_new_file_s_is_refused(board, name):
  (board / "Noted.JSON").write_text("a note")
  assert list(refused(board, changed("salmu_jax", "model", value=name))) == ["salmu_jax.model"]


def test_file_is_never_replaced_even_when_it_comes_meanwhile(board, monkeypatch):
  files.write_json(board.parent / "sent.json", MINE)
  write = files.write_json

  def slow(path, value):
    (board / "mine.json").write_text("another's")
    write(path, value)

  monkeypatch.setattr(files, "write_json", slow)
  with pytest.raises(InputError, match=r"mine\.json was created in the meantime"):
    submit.submit(board.parent / "sent.json", board)
  assert (board / "mine.json").read_text() == "another's"
  assert not list(board.glob(".*"))


@pytest.mark.parametrize("role", ["clean", "compromised", "other"])
def test_bounds_are_not_submitted(board, role):
  assert "salmu_jax.role" in refused(board, changed("salmu_jax", "role", value=role))


def test_all_problems_come_at_once(board):
  result = changed("salmu_jax", "reads", value=["holdout_identity"])
  del result["salmu_jax"]["device"]
  result["salmu_jax"]["start"] = "other"
  result["efficacy"]["1.3_ACS"]["acs_accuracy"] = 0.1
  result["utility"]["2.2_InterIdSim"]["scores"][:8] = [2.0] * 8
  text = json.dumps(result).replace('"seed": 0', '"seed": 0, "seed": 1')
  lines = refused(board, text)
  scores = [f"utility.2.2_InterIdSim.scores[{row}]" for row in range(5)]
  expected = ["salmu_jax.reads[0]", "salmu_jax.device", "salmu_jax.start", "salmu_jax.seed"]
  assert set(lines) == {*expected, *scores, "efficacy.1.3_ACS.acs_accuracy"}
  assert lines["salmu_jax.seed"] == "given twice; should be given once"


@pytest.mark.parametrize("text", ["[]", "1", "null", "NaN", '"x"', "{}"])
def test_json_that_is_no_results_file_is_refused(board, text):
  lines = refused(board, text)
  assert set(lines) <= {"the file", "efficacy", "utility", "salmu_jax"} and lines


@pytest.mark.parametrize(
  "data, message",
  [
    (b'{"efficacy": ', "is not valid JSON"),
    (b"\xff\xfe", "is not valid JSON"),
    (b"[" * 100_000, "is nested too deep"),
    (b"", "is not valid JSON"),
  ],
)
def test_what_cannot_be_read_is_refused(board, data, message):
  path = board.parent / "sent.json"
  path.write_bytes(data)
  with pytest.raises(InputError, match=rf"sent\.json {message}"):
    submit.submit(path, board)


def test_settings_nested_too_deep_are_refused(board):
  text = json.dumps(changed("salmu_jax", "settings", value={"a": "HERE"}))
  lines = refused(board, text.replace('"HERE"', "[" * 300 + "]" * 300))
  ((line, words),) = lines.items()
  assert line.startswith("salmu_jax.settings.a[0]") and words.startswith("nested too deep")


def test_file_too_large_is_refused_before_it_is_read(board):
  path = board.parent / "sent.json"
  with open(path, "wb") as file:
    file.truncate(strict.MOST_BYTES + 1)
  with pytest.raises(InputError, match="has 200,000,001 bytes"):
    submit.submit(path, board)
  with pytest.raises(InputError, match="no such file"):
    submit.submit(board, board)


def test_folder_without_bounds_says_what_to_put_there_beside_the_file_s_own_problems(board):
  (board / "clean.json").unlink()
  lines = refused(board, changed("salmu_jax", "seed", value=None))
  assert list(lines) == [str(board), "salmu_jax.seed"]
  assert "Evaluate the Clean model and put its JSON there" in lines[str(board)]


def test_folder_of_another_release_says_what_to_put_there(board):
  lines = refused(board, changed("salmu_jax", "release", "manifest_sha256", value="cd" * 32))
  (words,) = lines.values()
  assert "put Clean's and Compromised's results there" in words


def test_bounds_of_an_older_version_are_named(board):
  old = copy.deepcopy(SMALL["compromised"])
  del old["salmu_jax"]["additional"]["rows"]
  files.write_json(board / "compromised.json", old)
  ((where, words),) = refused(board, MINE).items()
  assert where == f"{board}, compromised.salmu_jax.additional.rows"
  assert "Evaluate compromised with this version" in words


def test_release_without_general_knowledge_takes_models_without_it(board):
  def without(result):
    result = copy.deepcopy(result)
    result["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] = None
    rows = result["salmu_jax"]["additional"]["rows"]
    rows["hits"]["GenKnow"] = None
    del rows["groups"]["zero_shot"]
    return result

  for name, result in SMALL.items():
    files.write_json(board / f"{name}.json", without(result))
  where = "salmu_jax.additional.rows.groups.zero_shot"
  assert list(refused(board, MINE)) == [where]
  files.write_json(board.parent / "sent.json", without(MINE))
  assert submit.submit(board.parent / "sent.json", board).exists()
