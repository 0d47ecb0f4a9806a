"""The notebook runs from top to bottom on a CPU, and is kept without outputs."""

import pathlib

import nbformat
import pytest
from nbclient import NotebookClient
from quick_compile import FLAGS

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "salmu_tpu_demo.ipynb"


@pytest.fixture(scope="module")
def notebook():
  return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_kept_without_outputs(notebook):
  nbformat.validate(notebook)
  cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
  assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_readme_opens_it_in_colab(notebook):
  address = f"https://colab.research.google.com/github/salmu-jax/salmu_jax/blob/main/{NOTEBOOK.relative_to(ROOT)}"
  assert address in (ROOT / "README.md").read_text()


def test_it_runs_and_puts_a_new_method_on_the_leaderboard(notebook, tmp_path, monkeypatch):
  # One device, as in Colab, and programs that are kept from one run to the next.
  monkeypatch.setenv("XLA_FLAGS", FLAGS)
  monkeypatch.delenv("JAX_ENABLE_COMPILATION_CACHE")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
  # The benchmark of the tests with several hosts: all of it, of fewer people and steps.
  parameters.source = (
    f'CONFIG = "tests/hostconfig.py:finetune"\nWORKDIR = {str(tmp_path / "demo")!r}'
  )
  client = NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(ROOT)}})
  client.execute()
  text = (tmp_path / "demo" / "leaderboard.md").read_text()
  assert "| mine |" in text and "| finetune |" in text
  tables = [
    output.data["text/html"]
    for cell in notebook.cells
    if cell.cell_type == "code"
    for output in cell.outputs
    if "text/html" in output.get("data", {}) and "true caption" in output.data["text/html"]
  ]
  assert len(tables) == 2 and all(
    "rank" in table and "data:image/jpeg" in table for table in tables
  )
