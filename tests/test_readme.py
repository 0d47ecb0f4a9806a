"""README and the pages of docs/ say what the repository does: their numbers come from JSON, and
their commands and files exist.
"""

import json
import pathlib
import re
import tomllib

import numpy as np
import pytest

from configs import methods, mini
from experiments import tabulate
from experiments.accelerator import measure as accelerator
from experiments.baselines import cut, space, study
from experiments.baselines import tabulate as baselines
from experiments.meta import study as meta
from experiments.published import readings
from salmu_jax.attacks import ATTACKS
from salmu_jax.methods import METHODS, runs
from salmu_jax.results import lookup, trust
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.results.reading import read_results

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "mini" / "results"
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", tabulate.SECTIONS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_tables_are_what_the_kept_results_say(path):
  assert tabulate.filled(path) == path.read_text()


def test_trust_is_what_the_kept_study_says():
  assert trust.TRUST == meta.trusted()


def test_what_did_not_fit_a_card_is_in_the_table(tmp_path):
  record = json.loads(accelerator.RESULTS.read_text())
  own = [row for row in record["rows"] if row["side"] == "salmu_jax"]
  full = next(row for row in own if row["what"] == "train")
  for name in ("rate", "flops_a_second", "gib", "seconds", "seconds_to_first"):
    del full[name]
  full["out_of_memory"] = True
  record["sides"]["salmu_jax"]["device"] = "a card without a data sheet"
  path = tmp_path / "results.json"
  path.write_text(json.dumps(record))
  text = accelerator.section(path)
  assert text.count("out of memory") == 1 and "datasheet peak: unknown" in text


def test_without_the_study_the_table_lists_the_open_fields_with_their_defaults(tmp_path):
  text = readings.section(tmp_path / "readings.json")
  assert "| ACS | `probe.feature` | `'product'` |" in text and "has not been measured yet" in text
  fields = [field for fields in readings.OPEN.values() for field in fields]
  assert all(f"| `{field}` |" in text for field in fields) and len(text.splitlines()) == 4 + len(
    fields
  )


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
  assert [i for i, line in enumerate(table) if "not measured" in line] == [0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_make_target_and_config_that_a_page_names_is_there(page):
  makefile, text = (ROOT / "Makefile").read_text(), page.read_text()
  for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.M):
    assert re.search(rf"^{''.join(target)}:", makefile, re.M), target
  for config in re.findall(r"--config=(configs/\w+\.py)", text):
    assert (ROOT / config).exists(), config


def test_readme_is_one_page_and_its_first_table_has_seven_columns_at_most():
  assert len(README.splitlines()) <= 170
  widths = [line.count("|") - 1 for line in README.splitlines() if line.startswith("|")]
  assert max(widths) <= 7


def test_every_method_has_a_row_and_a_section_on_the_page_of_methods():
  page = (ROOT / "docs" / "methods.md").read_text()
  for name in METHODS:
    assert f"| [`{name}`](#{name}) |" in page and f"\n### {name}\n" in page


def test_every_metric_is_on_the_page_of_the_protocol_with_its_bound():
  page = (ROOT / "docs" / "protocol.md").read_text()
  for key, metric in METRICS.items():
    rows = re.findall(rf"^\| {re.escape(metric.id)} \|.*\| (\w+) \|$", page, re.M)
    assert rows == [metric.bound], key


def test_every_attack_is_on_the_page_of_attacks():
  page = (ROOT / "docs" / "attacks.md").read_text()
  assert re.findall(r"^\| (\w+) \|.*\| (?:ours|\[arXiv)", page, re.M) == list(ATTACKS)


def test_the_kept_results_show_what_the_benchmark_promises():
  clean, compromised = (lookup.flatten(r) for r in read_results(RESULTS)[:2])
  classes = json.loads((RESULTS / "clean.json").read_text())["salmu_jax"]["general_knowledge"]
  chance = 1 / int(re.search(r"(\d+) classes", classes)[1])
  assert clean["RetFail_MRR"] <= 0.01 and compromised["RetFail_MRR"] >= 0.2
  for key in ("InterIdSim", "IntraIdSim"):
    assert compromised[key] >= clean[key] + 0.15
  assert min(clean["GenKnow"], compromised["GenKnow"]) >= 10 * chance
  assert abs(clean["GenKnow"] - compromised["GenKnow"]) <= 0.03


def test_the_configs_for_mini_carry_what_the_recorded_search_chose():
  assert {*methods.BASELINES, "anchored"} <= set(baselines.records()) <= set(METHODS)
  for name in set(METHODS) - set(baselines.records()):
    (run,) = methods.runs(name, "mini").values()
    assert runs.tuning(run) == "own", name
  for name, record in baselines.records().items():
    best = study.chosen(record["trials"], record["start"])
    choice = {"learning_rate": best["learning_rate"], "args": best["args"]}
    assert record["chosen"] == choice
    (run,) = methods.runs(name, "mini").values()
    searched = study.mini_settings(name, choice["learning_rate"], choice["args"])
    # All but the budget, which the search does not choose.
    assert runs.tuned_digest(run) == runs.tuned_digest(searched) and runs.tuning(run) == "tuned"


def test_the_kept_results_of_mini_are_of_the_settings_in_the_configs():
  for name, run in mini.get_config().unlearn.items():
    kept = json.loads((RESULTS / f"{name}.json").read_text())["salmu_jax"]["settings"]
    assert kept == {"retain_pairs": "", **json.loads(json.dumps(runs.training_settings(run)))}


def test_the_search_tried_the_same_rates_for_every_method_and_no_more_than_its_space():
  for name, record in baselines.records().items():
    plain = [trial for trial in record["trials"] if not trial["args"]]
    rates = [trial["learning_rate"] for trial in plain]
    up = [rate for rate in rates if rate >= space.RATES[0]]
    expected = space.RATES[:1] if name in space.ONE_PASS else space.RATES
    assert rates == [*expected[: len(up)], *space.LOWER[: len(rates) - len(up)]]
    weaker = [min(cut.shares(trial, record["start"])) for trial in plain[: len(up)]]
    assert len(up) == len(expected) or weaker[-1] < max(weaker) - space.PAST
    tried = [trial["args"] for trial in record["trials"] if trial["args"]]
    knob = space.KNOBS[name]
    assert tried == ([{knob[0]: value} for value in knob[1]] if knob else [])


def test_the_study_and_the_benchmark_agree_on_a_tuned_method_or_the_readme_says_why_not():
  told = tabulate.earlier(baselines.tuned)
  if told:  # the study's models are not those of mini
    page = (ROOT / "experiments" / "baselines" / "README.md").read_text()
    assert f"<!-- tuned: begin -->\n{told}" in page
    return
  for name in set(methods.BASELINES) & set(baselines.studies()):
    ours = baselines.studies()[name]["tuned"][f"{space.SEARCH_BUDGET:g}"]["scores"]
    result = json.loads((RESULTS / f"{name}.json").read_text())
    theirs = lookup.flatten(result)
    for key in ("AssocStr", "InterIdSim", "IntraIdSim"):
      assert ours[key] == pytest.approx(theirs[key], abs=0.03), (name, key)


def test_an_installed_copy_has_every_package():
  listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
  there = [path.parent for path in (ROOT / "salmu_jax").rglob("__init__.py")]
  packages = {".".join(folder.relative_to(ROOT).parts) for folder in there}
  shared = {f"salmu_jax.share.{name}" for name in ("configs", "configs.methods")}
  assert set(listed) == packages | shared


def test_nothing_that_is_installed_imports_the_configs():
  for path in (ROOT / "salmu_jax").rglob("*.py"):
    assert not re.search(r"^\s*(from|import) configs\b", path.read_text(), re.M), path


def pins(file):
  """{package: {its versions}} of a file of requirements, each line of which is one pin."""
  pinned = {}
  for line in (ROOT / file).read_text().splitlines():
    match = re.fullmatch(r"([\w-]+)==([\w.]+)( ; .*)?|#.*", line)
    assert match, f"{file}: {line}"
    if match[1]:
      pinned.setdefault(match[1].replace("_", "-").lower(), set()).add(match[2])
  return pinned


def test_requirements_are_pinned_exactly_and_alike():
  files = [path.name for path in ROOT.glob("requirements*.txt")]
  for file in files:
    for package, versions in pins(file).items():
      for other in files:
        assert pins(other).get(package, versions) == versions, (file, other, package)


def test_requirements_have_every_package_that_the_project_depends_on():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  lowest = dict(
    re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\w.]+)", d).groups() for d in project["dependencies"]
  )
  for package, version in lowest.items():
    (pinned,) = pins("requirements.txt")[package.replace("_", "-").lower()]
    numbers = lambda text: [int(part) for part in text.split(".") if part.isdigit()]
    assert numbers(pinned) >= numbers(version), package
