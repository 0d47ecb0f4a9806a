"""Limits of the code: short files and functions, and types on public functions."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("salmu_jax", "configs", "experiments", "tests")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
FILES += [ROOT / "main.py", ROOT / "docs" / "hooks.py"]
LONGEST_FILE, LONGEST_FUNCTION = 400, 50


def functions(tree):
  return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def public_functions(tree):
  """The functions and methods that others call, with whether they are methods."""
  for node in tree.body:
    if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
      yield node, False
    elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
      for method in node.body:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
          decorators = {getattr(decorator, "id", "") for decorator in method.decorator_list}
          yield method, "staticmethod" not in decorators


def lacking(node, is_method):
  """The parts of a function that have no type."""
  arguments = node.args
  listed = [*arguments.posonlyargs, *arguments.args][int(is_method) :] + arguments.kwonlyargs
  listed += [arg for arg in (arguments.vararg, arguments.kwarg) if arg]
  names = [arg.arg for arg in listed if arg.annotation is None and arg.arg != "_"]
  return names + (["return"] if node.returns is None else [])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_and_its_functions_are_short(path):
  text = path.read_text(encoding="utf-8")
  assert len(text.splitlines()) <= LONGEST_FILE
  lengths = {node.name: node.end_lineno - node.lineno + 1 for node in functions(ast.parse(text))}
  assert not {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION}


@pytest.mark.parametrize(
  "path",
  [path for path in FILES if (ROOT / "salmu_jax") in path.parents],
  ids=lambda path: str(path.relative_to(ROOT)),
)
def test_what_others_call_has_types(path):
  tree = ast.parse(path.read_text(encoding="utf-8"))
  wanting = {node.name: parts for node, m in public_functions(tree) if (parts := lacking(node, m))}
  assert not wanting
