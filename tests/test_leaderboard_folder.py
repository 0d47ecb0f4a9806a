"""The folder that takes submissions: what it holds passes, and what would be wrong is named."""

import json
import re
import textwrap

import pytest

from configs import mini
from experiments import leaderboard
from salmu_jax import config_file
from salmu_jax.errors import InputError
from salmu_jax.results.lookup import put
from salmu_jax.results.reading import read_results
from salmu_jax.runtime import files

WEIGHTS = "ab" * 32
KEPT = sorted(path.stem for path in leaderboard.KEPT.glob("*.json"))


@pytest.fixture
def build(tmp_path, monkeypatch):
  """build({file name: results}), which gives the folder that the leaderboard was written to."""

  def build(submitted):
    for name, result in submitted.items():
      files.write_json(tmp_path / "submissions" / name, result)
    (tmp_path / "submissions").mkdir(exist_ok=True)
    (tmp_path / "submissions" / ".gitkeep").touch()
    leaderboard.build(tmp_path / "submissions", tmp_path / "out")
    return tmp_path / "out"

  return build


def submission(model="mine", **changes):
  """Results as a run writes them: those of a kept model under another name."""
  result = files.read_json(leaderboard.KEPT / "finetune.json")
  result["salmu_jax"] |= {"model": model, "weights_sha256": WEIGHTS, **changes}
  return result


@pytest.fixture
def unreported(monkeypatch):
  """No report is made; a list of the folders of results that one was asked for."""
  asked = []
  report = lambda results, out, console: asked.append(results)
  monkeypatch.setattr(leaderboard.writing, "report_folder", report)
  return asked


def test_a_good_submission_has_a_row_on_the_page_and_in_the_table(build):
  out = build({"mine.json": submission()})
  names = [result["salmu_jax"]["model"] for result in read_results(out / "results")]
  assert sorted(names) == sorted([*KEPT, "mine"])
  assert "\n| mine |" in (out / "leaderboard.md").read_text()
  page = (out / "leaderboard.html").read_text()
  data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1]
  assert "mine" in [row["model"] for row in json.loads(data)["tables"][0]["rows"]]


def test_a_changed_score_is_refused_by_its_field_and_nothing_is_reported(build, unreported):
  changed = submission()
  put(changed, ("efficacy", "1.3_ACS", "acs_accuracy"), 0.1)
  with pytest.raises(InputError, match=r"\nefficacy\.1\.3_ACS\.acs_accuracy: found 0\.1; its rows"):
    build({"mine.json": changed})
  assert not unreported


def test_the_problems_of_all_submissions_come_at_once(build, unreported):
  with pytest.raises(InputError) as caught:
    build({"a.json": submission("a", seed=None), "b.json": submission("b"), "c.json": {}})
  said = str(caught.value)
  assert "a.json is not added" in said and "salmu_jax.seed: found null" in said
  assert "c.json is not added" in said and "b.json" not in said and not unreported


def test_a_file_that_is_not_named_after_its_model_is_refused(build, unreported):
  with pytest.raises(InputError, match=r"other\.json holds the model 'mine'; name the file mine"):
    build({"other.json": submission()})


@pytest.mark.parametrize("name", ["clean", "finetune", "FineTune"])
def test_the_name_of_a_kept_model_is_refused(build, unreported, name):
  with pytest.raises(InputError, match=r"salmu_jax\.model: found .*a submission replaces nothing"):
    build({f"{name}.json": submission(name)})


def test_an_empty_folder_passes_and_leaves_the_kept_results(build, unreported):
  out = build({})
  assert unreported == [out / "results"]
  assert sorted(path.stem for path in (out / "results").glob("*")) == KEPT


def test_a_submission_that_was_taken_back_is_gone_from_the_next_build(build, unreported, tmp_path):
  out = build({"mine.json": submission()})
  assert (out / "results" / "mine.json").exists()
  (tmp_path / "submissions" / "mine.json").unlink()
  build({})
  assert sorted(path.stem for path in (out / "results").glob("*")) == KEPT


def test_what_the_folder_holds_passes(unreported, tmp_path):
  leaderboard.build(leaderboard.SUBMISSIONS, tmp_path)


def test_the_config_on_the_page_is_mini_with_a_run_that_is_called_as_the_page_says(tmp_path):
  page = (leaderboard.SUBMISSIONS.parent / "README.md").read_text()
  (block,) = re.findall(r"```python\n(.*?)```", page, re.S)
  (tmp_path / "mine.py").write_text(textwrap.dedent(block))
  ours, theirs = config_file.load(tmp_path / "mine.py").to_dict(), mini.get_config().to_dict()
  (name,) = ours.pop("unlearn")
  del theirs["unlearn"]
  assert ours == theirs and name not in KEPT
  assert {f"runs/mini/results/{name}.json", f"leaderboard/submissions/{name}.json"} <= set(
    re.findall(r"`([\w/.]+)`", page)
  )
