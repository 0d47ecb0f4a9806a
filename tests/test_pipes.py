"""Commands whose output goes into a pipe that ends early, and into terminals of any width."""

import os
import pathlib
import subprocess
import sys

import pytest

from salmu_jax.runtime import pipes

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.parametrize("command", ["-m salmu_jax.results.schema", "main.py --help"])
def test_output_into_head_ends_without_a_word(command):
  line = f"{sys.executable} {command} | head -1"
  done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
  assert len(done.stdout.splitlines()) == 1 and done.stderr == ""


def test_a_broken_connection_is_no_closed_output():
  with pytest.raises(BrokenPipeError), pipes.ending_quietly():
    raise BrokenPipeError


@pytest.mark.parametrize("columns", ["20", "400"])
def test_a_dumb_terminal_of_any_width_gets_plain_text(columns):
  code = (
    "from salmu_jax.runtime.progress import console; console.print('a word ' * 20, style='dim')"
  )
  plain = {"COLUMNS": columns, "TERM": "dumb", "NO_COLOR": "1"}
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, env=os.environ | plain, capture_output=True, text=True
  )
  assert done.returncode == 0 and "\x1b" not in done.stderr
  assert done.stderr.split() == ["a", "word"] * 20
  assert max(map(len, done.stderr.splitlines())) <= int(columns)


def test_python_without_docstrings_is_refused_with_the_reason():
  command = [sys.executable, "-OO", "main.py", "--config=configs/smoke.py", "--workdir=x"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 1 and "Python runs with -OO" in done.stderr
  assert "Traceback" not in done.stderr and not (ROOT / "x").exists()
