"""The documentation: its pages are reachable, and the errors that it explains exist."""

import pathlib
import re

import pytest
import yaml

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"


class Loader(yaml.SafeLoader):
  """Reads mkdocs.yml, whose tags name Python functions, without them."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def listed(nav):
  """The pages of the navigation."""
  if isinstance(nav, str):
    return [nav]
  return [
    page for part in (nav.values() if isinstance(nav, dict) else nav) for page in listed(part)
  ]


@pytest.fixture(scope="module")
def config():
  return yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)


def test_every_page_and_study_is_in_the_navigation(config):
  pages = {page.name for page in DOCS.glob("*.md")}
  studies = {page.relative_to(ROOT).as_posix() for page in ROOT.glob("experiments/**/*.md")}
  packages = {path.parent.name for path in ROOT.glob("salmu_jax/*/__init__.py")}
  reference = {f"reference/{name}.md" for name in packages | {"salmu_jax"}}
  joined = {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "leaderboard/README.md"}
  joined.add("experiments/mini/leaderboard.html")
  assert sorted(listed(config["nav"])) == sorted(pages | studies | reference | joined)


def test_the_site_asks_no_other_site_for_fonts_or_scripts(config):
  assert config["theme"]["font"] is False and "extra_javascript" not in config


def errors():
  """The messages that the page of troubleshooting quotes."""
  text = (DOCS / "troubleshooting.md").read_text()
  return re.findall(r"^### `(.*)`$", text, re.M)


def source_text():
  """All strings of the package in one line, each f-string's fields as ..."""
  text = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "salmu_jax").rglob("*.py"))
  text = re.sub(r'"\s*\n\s*f?"', "", text)
  return re.sub(r"\{[^{}]*\}", "...", text)


def test_every_error_of_the_page_of_troubleshooting_is_one_of_the_program():
  source = source_text()
  assert len(errors()) > 15
  for message in errors():
    for part in message.split("..."):
      assert part.strip() in source, message
