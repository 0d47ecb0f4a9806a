"""README's recipe for a method is followed to the letter, in a copy of the repository."""

import filecmp
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from salmu_jax.methods import parts

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMPOSE = (ROOT / "docs" / "compose.md").read_text()
COPIED = ("salmu_jax", "configs", "tests", "pyproject.toml")


def section(title):
  return re.search(rf"^## {title}.*?(?=^## )", README, re.M | re.S)[0]


def copied(folder):
  for name in COPIED:
    source = ROOT / name
    if source.is_file():
      shutil.copy(source, folder / name)
    else:
      shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def touched(folder):
  """Files of the copy that are new or changed."""
  files = [p.relative_to(folder) for name in COPIED for p in (folder / name).rglob("*.py")]
  same = lambda file: (ROOT / file).exists() and filecmp.cmp(ROOT / file, folder / file, False)
  return sorted(str(file) for file in files if not same(file))


def ran(folder, *command):
  done = subprocess.run(
    [sys.executable, *command],
    cwd=folder,
    env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
  """A copy of the repository with README's method in it."""
  folder = tmp_path_factory.mktemp("recipe")
  copied(folder)
  text = section("Your own method")
  blocks = re.findall(r"```python\n# ([\w/.]+).*?\n(.*?)```", text, re.S)
  assert sum(len(code.splitlines()) for _, code in blocks) <= 30
  for path, code in blocks:
    if not (folder / path).exists():
      (folder / path).write_text(code)
      continue
    for line, before in zip(code.splitlines(), ("  munba,", '  "munba": munba.make,'), strict=True):
      source = (folder / path).read_text()
      assert source.count(f"\n{before}\n") == 1
      (folder / path).write_text(source.replace(f"\n{before}\n", f"\n{line}\n{before}\n"))
  return folder, [path for path, _ in blocks]


def test_the_recipe_touches_the_three_files_that_it_names(followed):
  folder, named = followed
  assert touched(folder) == sorted(named) and len(named) == 3
  assert "new method takes two new files and two lines in a third" in section("Your own method")


def test_the_method_of_the_recipe_is_made_of_its_config_and_its_range_is_kept(followed):
  code = """
import optax
from configs import methods
from salmu_jax.errors import InputError
from salmu_jax.methods import MAKERS, base
for size in ("mini", "vit_b16"):
  run = methods.runs("mine", size)["mine"]
  method = base.build(MAKERS[run.method], optax.sgd(1.0), run.args.to_dict(), steps=1, seed=0)
  print(method.reads)
try:
  base.build(MAKERS["mine"], optax.sgd(1.0), {"forget": -1}, steps=1, seed=0)
except InputError as error:
  print(error)
"""
  assert ran(followed[0], "-c", code).splitlines() == [
    "('forget', 'retain')",
    "('forget', 'retain')",
    "forget = -1; it must be a finite number of at least 0.",
  ]


def test_the_contract_tests_cover_the_method_of_the_recipe_without_another_line(followed):
  files = ["tests/test_methods.py", "tests/test_ranges.py", "tests/test_configuration.py"]
  chosen = "mine or every_size or after_the_colon"
  output = ran(followed[0], "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", chosen)
  assert int(re.search(r"(\d+) passed", output)[1]) >= 10


def test_the_page_on_composing_names_every_part_that_can_be_composed_at_its_place():
  row = lambda title: re.search(rf"^\| {title} \|(.*)\|$", COMPOSE, re.M)[1]
  listed = lambda title: re.findall(r"`(\w+)`", row(title))
  assert sorted(listed("losses of forget")) == sorted(parts.FORGET_LOSSES)
  assert sorted(listed("losses of retain")) == sorted(parts.RETAIN_LOSSES)
  for place in (parts.BEFORE, parts.AFTER, parts.INSTEAD):
    standing = [name for name, entry in parts.CHAIN.items() if entry.stands == place]
    assert listed(place) == standing
