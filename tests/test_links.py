"""Links in Markdown lead to files and headings that are there."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
HOME = "https://github.com/salmu-jax/salmu_jax/blob/main/"
FOLDERS = (".github", "docs", "experiments", "leaderboard")
PAGES = list(ROOT.glob("*.md"))
PAGES += [page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md")]
FORMS = list((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def name(path):
  return str(path.relative_to(ROOT))


def prose(path):
  """A page without its code."""
  return re.sub(r"^ *```.*?^ *```$|`[^`\n]*`", "", path.read_text(), flags=re.M | re.S)


def targets(path):
  """(file, heading or "") of each link into this repository."""
  text = path.read_text() if path in FORMS else prose(path)
  inside = re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)
  found = [(path.parent if target[0] != "#" else path, target) for target in inside]
  found += [(ROOT, target) for target in re.findall(rf"{re.escape(HOME)}([^)\s\"]+)", text)]
  for base, target in found:
    file, _, heading = target.partition("#")
    yield (base / file if file else base), heading


def anchors(path):
  """The headings of a page as GitHub addresses them."""
  heads = re.findall(
    r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S), re.M
  )
  plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads)
  return {re.sub(r"[^\w\- ]", "", head).strip().replace(" ", "-") for head in plain}


@pytest.mark.parametrize("path", sorted([*PAGES, *FORMS]), ids=name)
def test_a_link_of_a_page_or_form_leads_to_what_is_there(path):
  for file, heading in targets(path):
    assert file.exists(), file
    assert not heading or heading in anchors(file), (file, heading)


def test_pages_that_people_are_sent_to_have_links():
  for page in (
    "README.md",
    "docs/index.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "leaderboard/README.md",
  ):
    assert list(targets(ROOT / page)), page
