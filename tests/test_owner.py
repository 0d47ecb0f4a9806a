"""One run a workdir, on a disk; tests/test_cloud.py has the same of buckets."""

import json
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from salmu_jax.errors import InputError
from salmu_jax.runtime import owner

ROOT = pathlib.Path(__file__).parent.parent
HOLD = """
import pathlib, sys, time
from salmu_jax.runtime import owner, places
with owner.owning(places.place(sys.argv[1])):
  print("in", flush=True)
  time.sleep(600)
"""


def holder(workdir):
  """Another process that owns the workdir."""
  process = subprocess.Popen(
    [sys.executable, "-c", HOLD, str(workdir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
  )
  assert process.stdout.readline() == "in\n"
  return process


def test_a_second_run_in_a_workdir_is_told_who_works_there_and_takes_over_after_a_kill(tmp_path):
  process = holder(tmp_path)
  told = rf"Another run uses {re.escape(str(tmp_path))}: process {process.pid} on .*, since 20"
  try:
    with pytest.raises(InputError, match=told), owner.owning(tmp_path):
      pass
    assert (tmp_path / owner.MARK).exists()
  finally:
    process.send_signal(signal.SIGKILL)
    process.communicate()
  with owner.owning(tmp_path):
    assert json.loads((tmp_path / owner.MARK).read_text())["process"] != process.pid


def test_nothing_is_left_of_a_mark_nor_of_a_workdir_in_which_nothing_was_written(tmp_path):
  with owner.owning(tmp_path / "run"):
    pass
  assert not (tmp_path / "run").exists()
  with owner.owning(tmp_path / "run"):
    (tmp_path / "run" / "release").mkdir()
  assert [path.name for path in (tmp_path / "run").iterdir()] == ["release"]


def test_a_workdir_that_is_a_file_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match=r"Cannot write .*file"), owner.owning(tmp_path / "file"):
    pass


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch, said):
  def refuse(file, how):
    raise OSError(95, "Operation not supported")

  monkeypatch.setattr(owner.fcntl, "flock", refuse)
  with owner.owning(tmp_path):
    pass
  assert "cannot be locked (Operation not supported)" in said()
