"""README says what the repository does: its numbers come from JSON, its commands and files exist."""

import pathlib
import re

from experiments.mini import tabulate
from salmu_jax.methods import METHODS

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_table_is_what_the_kept_results_say():
  assert tabulate.replaced(README, tabulate.section()) == README


def test_every_file_that_readme_links_is_there():
  links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
  assert links and all((ROOT / link).exists() for link in links), links


def test_every_make_target_and_config_that_readme_names_is_there():
  makefile = (ROOT / "Makefile").read_text()
  for target in re.findall(r"`?make ([a-z]+)`?", README):
    assert re.search(rf"^{target}:", makefile, re.M), target
  for config in re.findall(r"--config=(configs/\w+\.py)", README):
    assert (ROOT / config).exists(), config


def test_every_method_is_described_in_readme():
  for name in METHODS:
    assert f"`{name}`" in README


def test_requirements_are_pinned_exactly():
  for file in ("requirements.txt", "requirements-dev.txt"):
    for line in (ROOT / file).read_text().splitlines():
      assert not line or re.fullmatch(r"[\w-]+==[\w.]+|-r requirements\.txt|#.*", line), line
