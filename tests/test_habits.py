"""Files that a repository has beside its code agree with the code, and with one another."""

import pathlib
import re

import pytest
import yaml

import salmu_jax

ROOT = pathlib.Path(__file__).parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PUBLISHED = {"pages": "write", "id-token": "write"}  # what deploying the site takes


def read(path):
  # YAML 1.1 takes the key `on` for True.
  return yaml.safe_load((ROOT / path).read_text())


def steps(workflow):
  return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_pre_commit_runs_the_ruff_that_lint_runs():
  hooks = {
    repo["repo"].rpartition("/")[2]: repo for repo in read(".pre-commit-config.yaml")["repos"]
  }
  ruff = hooks["ruff-pre-commit"]
  (pinned,) = re.findall(r"^ruff==(\S+)", (ROOT / "requirements-dev.txt").read_text(), re.M)
  assert ruff["rev"] == f"v{pinned}"
  assert {hook["id"] for hook in ruff["hooks"]} == {"ruff-check", "ruff-format"}


def test_the_changelog_begins_with_what_is_unreleased_and_then_has_this_version():
  heads = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", CHANGELOG, re.M)
  assert heads[0] == ("Unreleased", "") and heads[1][0] == salmu_jax.__version__ and heads[1][1]


def test_the_citation_is_of_this_version_and_its_day():
  citation = read("CITATION.cff")
  version = salmu_jax.__version__
  assert str(citation["version"]) == version
  assert f"## [{version}] - {citation['date-released']}\n" in CHANGELOG


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_actions_to_commits_and_may_do_no_more_than_it_must(path):
  workflow, text = yaml.safe_load(path.read_text()), path.read_text()
  for used in re.findall(r"uses: (.*)", text):
    assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used
  assert workflow["permissions"] == {"contents": "read"} and "secrets." not in text
  more = [job["permissions"] for job in workflow["jobs"].values() if "permissions" in job]
  assert more in ([], [PUBLISHED])
  assert workflow["concurrency"] and all("timeout-minutes" in j for j in workflow["jobs"].values())
  checkouts = [step for step in steps(workflow) if "actions/checkout@" in step.get("uses", "")]
  assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_commands_that_are_there(path):
  makefile = (ROOT / "Makefile").read_text()
  commands = [step["run"] for step in steps(yaml.safe_load(path.read_text())) if "run" in step]
  for command in commands:
    target = re.fullmatch(r"make ([a-z-]+)", command)
    there = re.search(rf"^{target[1]}:", makefile, re.M) if target else (ROOT / command).is_file()
    assert there, command


def test_ci_runs_what_has_to_pass_on_a_clean_checkout():
  workflow = read(".github/workflows/ci.yml")
  commands = {step["run"] for step in steps(workflow) if "run" in step}
  assert commands == {".ci/run", "make smoke", "make leaderboard"}
  assert workflow["jobs"]["checks"]["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
