"""README says what the repository does: its numbers come from JSON, its commands and files exist."""

import json
import pathlib
import re

import numpy as np

from configs import methods
from experiments import tabulate
from experiments.mini import tune
from experiments.published import readings
from salmu_jax.evaluate import scores
from salmu_jax.report.results import read_results

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "mini" / "results"
README = (ROOT / "README.md").read_text()


def test_the_tables_are_what_the_kept_results_say():
  assert tabulate.filled(README) == README


def test_a_reading_that_comes_close_is_named_in_the_table(tmp_path):
  rows = [
    {"metric": metric, "fields": fields, "clean": value, "compromised": value}
    for (metric, fields), value in zip(readings.readings(), np.linspace(0, 1, 15), strict=True)
  ]
  rows[3] |= {"clean": 0.60194, "compromised": 0.955}
  # Of a study with other readings: neither the order counts nor what is not there.
  rows = rows[:0:-1]
  path = tmp_path / "readings.json"
  path.write_text(json.dumps({"release": "x", "readings": rows}))
  table = readings.section(path).splitlines()[2:]
  assert [i for i, line in enumerate(table) if "reproduces it" in line] == [3]
  assert "0.60194 / 0.95500, reproduces it" in table[3]
  assert [i for i, line in enumerate(table) if "not run yet" in line] == [0]


def test_every_file_that_readme_links_is_there():
  links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
  assert links and all((ROOT / link).exists() for link in links), links


def test_every_make_target_and_config_that_readme_names_is_there():
  makefile = (ROOT / "Makefile").read_text()
  for target in re.findall(r"`?make ([a-z]+)`?", README):
    assert re.search(rf"^{target}:", makefile, re.M), target
  for config in re.findall(r"--config=(configs/\w+\.py)", README):
    assert (ROOT / config).exists(), config


def test_every_baseline_is_described_in_readme():
  for name in methods.BASELINES:
    assert f"`{name}`" in README


def test_the_kept_results_show_what_the_benchmark_promises():
  clean, compromised = (scores.flatten(r) for r in read_results(RESULTS)[:2])
  classes = json.loads((RESULTS / "clean.json").read_text())["salmu_jax"]["general_knowledge"]
  chance = 1 / int(re.search(r"(\d+) classes", classes)[1])
  assert clean["RetFail_MRR"] <= 0.01 and compromised["RetFail_MRR"] >= 0.2
  for key in ("InterIdSim", "IntraIdSim"):
    assert compromised[key] >= clean[key] + 0.15
  assert min(clean["GenKnow"], compromised["GenKnow"]) >= 10 * chance
  assert abs(clean["GenKnow"] - compromised["GenKnow"]) <= 0.03


def test_the_methods_learning_rates_are_those_the_recorded_search_chose():
  tuning = json.loads((RESULTS.parent / "tuning.json").read_text())
  for name in methods.BASELINES:
    assert (
      tune.choose(tuning["trials"][name], tuning["start"])["learning_rate"]
      == tuning["chosen"][name]
    )
    (run,) = methods.runs(name, "mini").values()
    assert run.optimizer.learning_rate == tuning["chosen"][name]
    kept = json.loads((RESULTS / f"{name}.json").read_text())["salmu_jax"]["settings"]
    assert kept["optimizer"]["learning_rate"] == tuning["chosen"][name]


def test_requirements_are_pinned_exactly():
  for file in ("requirements.txt", "requirements-dev.txt"):
    for line in (ROOT / file).read_text().splitlines():
      assert not line or re.fullmatch(r"[\w-]+==[\w.]+|-r requirements\.txt|#.*", line), line
