"""Builds the site from the whole checkout: mkdocs calls these functions.

Pages outside docs/ (the studies, CONTRIBUTING.md, ...) join the site at their paths in the
checkout. In every page, a link to a file of the checkout leads to its page where there is one, and
to GitHub where there is none, so the same link works in an editor, on GitHub and on the site. The
API reference has a page for each package.
"""

import ast
import functools
import pathlib
import posixpath
import re

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parents[1]
JOINED = (
  "CHANGELOG.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "leaderboard/README.md",
  "experiments/README.md",
  "experiments/*/*.md",
  "experiments/*/*.png",
  "experiments/mini/leaderboard.html",
)
_FLAX = ("setup",)  # methods that Flax defines
# Where the text of a docstring ends.
_SECTION = re.compile(r"(?=^(?:Args|Attributes|Extra args|Raises|Returns|Yields):)", re.M)
_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.M | re.S)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")


def packages() -> dict[str, list[str]]:
  """{page of the reference: its modules}: one page a package, and one for the other modules."""
  pages: dict[str, list[str]] = {}
  for path in sorted((ROOT / "salmu_jax").rglob("*.py")):
    parts = path.relative_to(ROOT).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    if not parts[-1].startswith("_") or parts[-1] == "__init__":
      pages.setdefault(parts[1] if len(parts) > 2 else "salmu_jax", []).append(module)
  return pages


@functools.cache
def parsed(module: str) -> ast.Module:
  """The syntax tree of a module."""
  path = ROOT.joinpath(*module.split("."))
  path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
  return ast.parse(path.read_text(encoding="utf-8"))


def public(tree: ast.Module | ast.ClassDef) -> list[ast.FunctionDef | ast.ClassDef]:
  """The public functions and classes that a module or class defines."""
  kinds = ast.FunctionDef | ast.ClassDef
  nodes = [node for node in tree.body if isinstance(node, kinds)]
  return [node for node in nodes if node.name[0] != "_" and node.name not in _FLAX]


def undocumented(module: str) -> list[str]:
  """The public names of a module without a docstring; its own is ""."""
  tree = parsed(module)
  nodes = [inner for node in public(tree) for inner in (node, *public_methods(node))]
  missing = [node.name for node in nodes if not ast.get_docstring(node)]
  return missing + ([] if ast.get_docstring(tree) or not tree.body else [""])


def public_methods(node: ast.FunctionDef | ast.ClassDef) -> list[ast.FunctionDef | ast.ClassDef]:
  """The public methods of a class; none of a function."""
  return public(node) if isinstance(node, ast.ClassDef) else []


def reference(page: str, modules: list[str]) -> str:
  """A page of the API reference. What a package imports stands at the module that defines it."""
  parts = [f"# {page}"]
  for module in modules:
    own = [node.name for node in public(parsed(module))]
    parts.append(f"::: {module}\n    options:\n      members: {own or 'false'}")
  return "\n\n".join(parts) + "\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
  """Adds the pages and pictures of JOINED."""
  for pattern in JOINED:
    paths = sorted(ROOT.glob(pattern))
    if not paths:
      raise PluginError(f"docs/hooks.py joins {pattern!r}, and the checkout has no such file.")
    for path in paths:
      name = path.relative_to(ROOT).as_posix()
      files.append(File.generated(config, name, abs_src_path=str(path)))
  for page, modules in packages().items():
    missing = [f"{module}:{name}" for module in modules for name in undocumented(module)]
    if missing:
      raise PluginError(f"No docstring: {', '.join(missing)}.")
    text = reference(page, modules)
    files.append(File.generated(config, f"reference/{page}.md", content=text))
  return files


class Formulas(griffe.Extension):
  """Shows the formulas of docstrings, which are indented by two spaces, as code."""

  def on_instance(self, *, obj: griffe.Object, **kwargs: object) -> None:
    """Indents the formulas of a docstring as Markdown wants code."""
    if obj.docstring:
      text, *sections = _SECTION.split(obj.docstring.value, 1)
      obj.docstring.value = "".join([re.sub(r"^ {2}(?=.)", "    ", text, flags=re.M), *sections])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
  """Points links to files of the checkout at pages of the site, or at GitHub."""
  if page.file.abs_src_path is None:
    return markdown
  origin = pathlib.Path(page.file.abs_src_path)
  return outside_fences(
    markdown, lambda text: _LINK.sub(_pointed(page, origin, config, files), text)
  )


def outside_fences(markdown: str, change) -> str:
  """A page with `change` applied to all but its code blocks."""
  parts, at = [], 0
  for fence in _FENCE.finditer(markdown):
    parts += [change(markdown[at : fence.start()]), fence[0]]
    at = fence.end()
  return "".join([*parts, change(markdown[at:])])


def _pointed(page, origin, config, files):
  docs = pathlib.Path(config.docs_dir)

  def pointed(link):
    target = (origin.parent / link[1]).resolve()
    if not target.is_relative_to(ROOT) or not target.exists():
      raise PluginError(f"{origin.relative_to(ROOT)} links {link[1]!r}, which is not there.")
    base = docs if target.is_relative_to(docs) else ROOT
    name = target.relative_to(base).as_posix()
    if files.get_file_from_path(name):
      here = posixpath.dirname(page.file.src_uri)
      return posixpath.relpath(name, here) + (link[2] or "")
    kind = "tree" if target.is_dir() else "blob"
    return f"{config.repo_url}/{kind}/main/{target.relative_to(ROOT).as_posix()}{link[2] or ''}"

  return pointed
