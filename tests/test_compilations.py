"""Compiled programs are kept and read; what is wrong with their folder costs time, not results."""

import errno
import os
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp
import littlejob
import numpy as np
import pytest
from rich.console import Console

from salmu_jax.benchmark import provenance, stages
from salmu_jax.errors import InputError
from salmu_jax.runtime import compilations, files, progress
from salmu_jax.runtime.compilations import Store


@pytest.fixture
def said(monkeypatch, tmp_path):
  """What was printed on the terminal so far."""
  console = Console(file=open(tmp_path / "said", "w+"), width=80)
  monkeypatch.setattr(progress, "console", console)

  def read():
    console.file.seek(0)
    return console.file.read()

  yield read
  console.file.close()


@pytest.fixture
def folder(tmp_path, said, monkeypatch):
  """A folder for programs, which are kept in this test alone."""
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  # For the processes that the test starts, and for this one.
  monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "true")
  jax.config.update("jax_enable_compilation_cache", True)
  yield tmp_path / "programs"
  compilations.start("off")
  jax.config.update("jax_enable_compilation_cache", False)


def program(x):
  return jnp.sort(jnp.tanh(x @ x.T), axis=1)


def compiled_and_read(where):
  """The result of a program in a process that has not compiled it, and (compiled, read)."""
  compilations.start(str(where))
  x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
  before = compilations.tally()
  result = np.asarray(jax.jit(lambda x: program(x))(x))
  programs, read, seconds = (a - b for a, b in zip(compilations.tally(), before, strict=True))
  assert programs == 1 and seconds > 0
  return result, (programs - read, read)


def entries(folder):
  return sorted(folder.glob("*.program"))


def test_what_was_compiled_once_is_read_ever_after_with_the_same_bits(folder, said):
  expected, counts = compiled_and_read("off")
  assert counts == (1, 0) and not folder.exists()
  for counts in ((1, 0), (0, 1), (0, 1)):
    result, found = compiled_and_read(folder)
    assert found == counts
    np.testing.assert_array_equal(result, expected)
  assert len(entries(folder)) == 1 and folder.stat().st_mode & 0o777 == 0o700
  assert compilations.describe() == f"{folder} (1 programs, 0.0 MiB)" and said() == ""


DAMAGES = {
  "empty": lambda whole: b"",
  "cut within its digest": lambda whole: whole[:20],
  "cut": lambda whole: whole[:-1],
  "one bit changed": lambda whole: whole[:-200] + bytes([whole[-200] ^ 1]) + whole[-199:],
  "something else": lambda whole: b"not a program" * 100,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_program_is_told_compiled_anew_and_repaired(damage, folder, said):
  expected, _ = compiled_and_read(folder)
  (entry,) = entries(folder)
  entry.write_bytes(DAMAGES[damage](entry.read_bytes()))
  result, counts = compiled_and_read(folder)
  assert counts == (1, 0)
  np.testing.assert_array_equal(result, expected)
  assert said().count("\n") == 1 and f"{folder} held a damaged program" in said()
  assert compiled_and_read(folder)[1] == (0, 1)


def test_a_file_in_the_place_of_the_folder_is_told_once_and_nothing_is_kept(folder, said):
  folder.write_text("mine")
  assert compiled_and_read(folder)[1] == (1, 0)
  assert folder.read_text() == "mine" and compilations.describe() == "off"
  assert said().count("\n") == 1 and f"{folder} cannot be used (File exists)" in said()


def test_a_folder_that_may_only_be_read_is_told_once_and_nothing_is_kept(folder, said, monkeypatch):
  def refuse(**_):
    raise OSError(errno.EROFS, "Read-only file system")

  monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # permissions do not stop root
  assert compiled_and_read(folder)[1] == (1, 0) and not entries(folder)
  assert said().count("\n") == 1 and f"{folder} cannot be used (Read-only file system)" in said()


def test_a_disk_that_fills_up_is_told_once_and_leaves_no_litter(folder, said, monkeypatch):
  def refuse(path):
    raise InputError("full") from OSError(errno.ENOSPC, "No space left on device")

  compilations.start(str(folder))
  monkeypatch.setattr(files, "replacing", refuse)
  for size in (2, 3, 4):
    assert jax.jit(program)(np.ones((size, size), np.float32)).shape == (size, size)
  assert list(folder.iterdir()) == []
  assert said().count("\n") == 1
  assert f"{folder} cannot be written (No space left on device)" in said()


def test_beyond_its_limit_the_programs_used_longest_ago_go(folder, said):
  folder.mkdir()
  (folder / "foreign").write_bytes(bytes(5000))
  os.utime(folder / "foreign", (0, 0))
  for name in (".d.program.left_by_a_kill", ".f.program.being_written"):
    (folder / name).write_bytes(bytes(500))
  os.utime(folder / ".d.program.left_by_a_kill", (0.5, 0.5))
  store = Store(folder, limit=3600)
  for at, key in enumerate("abc"):
    store.put(key, key.encode() * 1000)
    os.utime(folder / f"{key}.program", (at, at))
  assert store.get("a") == b"a" * 1000  # used just now
  store.put("e", b"e" * 1000)
  kept = {"foreign", ".f.program.being_written", "a.program", "c.program", "e.program"}
  assert {p.name for p in folder.iterdir()} == kept
  assert store.get("b") is None and said() == ""


WRITER = """
import pathlib, sys
from salmu_jax.runtime.compilations import Store
store = Store(pathlib.Path(sys.argv[1]), limit=3_000_000)
print("ready", flush=True)
for turn in range(10**6):
  for key in "abcd":
    store.put(key, (key * 1_000_000).encode())
    assert store.get(key) in (None, (key * 1_000_000).encode())
"""


def test_processes_that_write_read_evict_and_die_at_once_see_complete_programs(folder, said):
  folder.mkdir()
  command = [sys.executable, "-c", WRITER, str(folder)]
  pipe = subprocess.PIPE
  writers = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
  try:
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 2
    store, found = Store(folder, limit=3_000_000), 0
    for turn in range(400):
      for key in "abcd":
        content = store.get(key)
        found += content is not None
        assert content in (None, (key * 1_000_000).encode())
      if turn == 200:
        writers[0].kill()
    assert found > 10 and writers[1].poll() is None
  finally:
    for writer in writers:
      writer.kill()
      assert writer.communicate()[1] == ""
  assert said() == "" and sum(p.stat().st_size for p in folder.iterdir()) < 8_000_000


def kept_in(where):
  compilations.start(where)
  return jax.config.jax_compilation_cache_dir


def test_the_folder_is_the_users_unless_jax_or_the_config_names_another(
  folder, tmp_path, monkeypatch
):
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  assert kept_in("default") == str(tmp_path / "home/.cache/salmu_jax/compilations")
  monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which its specification says to ignore
  assert kept_in("default") == str(tmp_path / "home/.cache/salmu_jax/compilations")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
  assert kept_in("default") == str(tmp_path / "xdg/salmu_jax/compilations")
  assert kept_in("~/mine") == str(tmp_path / "home/mine")
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "jax"))
  assert kept_in("default") == str(tmp_path / "jax")
  assert kept_in(str(folder)) == str(folder)
  assert kept_in("off") is None and kept_in("") is None


def test_several_processes_keep_programs_only_where_they_are_told_to(folder, tmp_path, monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
  assert kept_in("default") is None
  assert kept_in(str(folder)) == str(folder)
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "jax"))
  assert kept_in("default") == str(tmp_path / "jax")


def test_several_processes_on_cpus_keep_no_programs_for_they_cannot_read_them(folder, monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder))
  assert kept_in("default") is None and kept_in(str(folder)) is None


def test_a_bucket_that_jax_is_told_of_is_left_to_it(folder, monkeypatch):
  kept_in("off")
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/programs")
  compilations.start("default")
  assert compilations.current() is None


def test_no_model_and_no_result_depends_on_the_folder(tmp_path):
  job, data = littlejob.make(tmp_path)
  other = littlejob.changed(job)
  other.config.compilation_cache = str(tmp_path / "programs")
  for depends in (
    lambda job: stages.pretrain_settings(job, data.digests),
    lambda job: stages.unlearn_settings(job, data.digests, "mine"),
    lambda job: provenance.result_inputs(job, data, "mine"),
  ):
    assert depends(job) == depends(other)
