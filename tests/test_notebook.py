"""The notebook: kept without outputs; as "Run all" does it in Colab (`make test-install`)."""

import pathlib
import subprocess

import nbformat
import pytest
from fresh import checkout, done, environment
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "salmu_tpu_demo.ipynb"


@pytest.fixture(scope="module")
def notebook():
  return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_kept_without_outputs(notebook):
  nbformat.validate(notebook)
  cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
  assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_readme_opens_it_in_colab():
  address = f"https://colab.research.google.com/github/salmu-jax/salmu_jax/blob/main/{NOTEBOOK.relative_to(ROOT)}"
  assert address in (ROOT / "README.md").read_text()


@pytest.mark.install
def test_it_runs_under_another_python_with_an_old_numpy_and_puts_a_method_on_the_leaderboard(
  notebook, tmp_path, monkeypatch
):
  env = environment(tmp_path, "3.13", "3.12")
  for name in ("JAX_PLATFORMS", "HOME", "PATH", "SSL_CERT_FILE"):
    if name in env:
      monkeypatch.setenv(name, env[name])
  done(["uv", "venv", "--quiet", "--python=3.13", "kernel"], tmp_path, env)
  kernel = tmp_path / "kernel" / "bin" / "python"
  packages = ["ipykernel", "numpy==2.1.3"]
  done(["uv", "pip", "install", "--quiet", f"--python={kernel}", *packages], tmp_path, env)
  command = [kernel, "-m", "ipykernel", "install", f"--prefix={tmp_path / 'share'}", "--name=old"]
  done(command, tmp_path, env)
  monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "share" / "jupyter"))
  repository = checkout(tmp_path / "repository")
  for words in ("init -q", "add .", "-c user.name=a -c user.email=b commit -q -m c"):
    subprocess.run(["git", *words.split()], cwd=repository, check=True)

  (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
  parameters.source = 'CONFIG = "tests/hostconfig.py:finetune"\nWORKDIR = "runs/demo"'
  install = next(cell for cell in notebook.cells if cell.cell_type == "code")
  address = '"https://github.com/salmu-jax/salmu_jax"'
  assert install.source.count(address) == 1
  install.source = install.source.replace(address, repr(str(repository)))
  loaded = nbformat.v4.new_code_cell("from numpy import *; import numpy; numpy.__version__")
  notebook.cells.insert(0, loaded)
  empty = tmp_path / "content"
  empty.mkdir()
  resources = {"metadata": {"path": str(empty)}}
  NotebookClient(notebook, timeout=500, kernel_name="old", resources=resources).execute()

  assert loaded.outputs[0].data["text/plain"] == "'2.1.3'"
  text = (empty / "salmu_jax" / "runs" / "demo" / "leaderboard.md").read_text()
  assert "| mine |" in text and "| finetune |" in text
  shown = [
    output.data["text/html"]
    for cell in notebook.cells
    if cell.cell_type == "code"
    for output in cell.outputs
    if "text/html" in output.get("data", {})
  ]
  tables = [each for each in shown if "true caption" in each]
  assert len(shown) == 3 and all("data:image/jpeg" in each for each in shown)
  assert len(tables) == 2 and all("rank" in each for each in tables)
