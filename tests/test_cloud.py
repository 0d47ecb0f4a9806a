"""Runs, releases and weights in a bucket; needs requirements-cloud-dev.txt (`make test-cloud`)."""

import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from modelfolders import TINY, model_folder, params_of
from processes import (
  MODELS,
  QUIET,
  ROOT,
  assert_same_run,
  begin,
  curve,
  run,
  scores,
)

from salmu_jax.data import releases
from salmu_jax.errors import InputError
from salmu_jax.interop import convert
from salmu_jax.report import __main__ as report
from salmu_jax.results.reading import read_results
from salmu_jax.runtime import copies, files, owner, places

pytestmark = pytest.mark.cloud
bucket = pytest.importorskip("bucket", reason="needs requirements-cloud-dev.txt")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
  """gs://BUCKET of a bucket that this process finds, and those that it starts."""
  with (
    bucket.serving(tmp_path_factory.mktemp("bucket")) as environment,
    pytest.MonkeyPatch.context() as patch,
  ):
    for name, value in environment.items():
      patch.setenv(name, value)
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    places._file_system.cache_clear()
    yield places.place(f"gs://{bucket.NAME}")


def machine(tmp_path_factory):
  """The environment of a process on a machine of its own: it has another disk."""
  return {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("machine"))}


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("on_disk")
  run(workdir, 1, devices=2)
  return workdir


def killed(workdir, until, environment):
  """Starts a run and kills it as soon as `until()` is true."""
  (process,) = begin(workdir, 1, devices=2, environments=[environment]).started
  try:
    for _ in range(6000):
      if until():
        return
      assert process.poll() is None, process.communicate()
      time.sleep(0.1)
    raise AssertionError(f"{workdir} has not got so far after ten minutes")
  finally:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def last(tmp_path_factory):
  """The machine that `in_bucket` ended on."""
  return machine(tmp_path_factory)


@pytest.fixture(scope="module")
def in_bucket(home, last, tmp_path_factory):
  """The workdir of a run that was killed twice; each time it went on on another machine."""
  workdir = home / "run"
  checkpointed = lambda name: any(
    path.name.isdigit() for path in (workdir / "models" / name / "checkpoints").glob("*")
  )
  killed(workdir, lambda: checkpointed("clean"), machine(tmp_path_factory))
  assert not (workdir / "results").exists()
  killed(workdir, lambda: checkpointed("finetune"), machine(tmp_path_factory))
  assert not (workdir / "results" / "finetune.json").exists()
  run(workdir, 1, devices=2, environments=[last])
  return workdir


def test_a_run_that_was_killed_twice_ends_with_the_bits_of_one_on_a_disk(in_bucket, on_disk):
  for model in MODELS:
    assert scores(in_bucket, model) == scores(on_disk, model)
    assert curve(in_bucket, model) == curve(on_disk, model)


def test_nothing_goes_to_a_local_folder_of_the_buckets_name(in_bucket):
  assert not list(ROOT.glob("gs*")) and "gs:" not in {path.name for path in ROOT.iterdir()}


def test_what_a_run_on_a_disk_leaves_is_in_the_bucket_but_for_scratch(in_bucket, on_disk):
  scratch = ("records", "stored_pictures", "kept", "release_hashes.json", "separation.json")
  left = {path.name for path in on_disk.iterdir() if path.name not in scratch}
  assert {path.name for path in in_bucket.iterdir()} == left - {".lock"}
  names = lambda folder: {path.name for path in (folder / "models" / "finetune").iterdir()}
  assert names(in_bucket) == names(on_disk)


def test_a_finished_run_is_left_alone(in_bucket, home, last):
  listed = lambda: places.file_system(home).find(str(in_bucket), detail=True)
  before = listed()
  ((_, _, said),) = run(in_bucket, 1, devices=2, environments=[last])
  assert "Nothing to do" in said and listed() == before


def test_two_processes_that_share_no_disk_make_one_run(home, on_disk, tmp_path_factory):
  machines = [machine(tmp_path_factory) for _ in range(2)]
  run(home / "two", 2, environments=machines, flags=QUIET)
  assert_same_run(home / "two", on_disk)


def test_a_release_and_models_in_a_bucket_are_used_on_a_disk(in_bucket, tmp_path):
  models = [f"--config.init.{name}={in_bucket}/models/{name}" for name in MODELS[:2]]
  flags = [f"--config.release={in_bucket}/release", *models]
  run(tmp_path, 1, devices=2, flags=flags)
  for model in MODELS:
    assert scores(tmp_path, model) == scores(in_bucket, model)


def test_a_report_is_read_from_and_written_to_a_bucket(in_bucket, home, capsys):
  out = home / "report"
  assert report.main([str(in_bucket / "results"), f"--out={out}"]) == 0
  assert "finetune" in (out / "leaderboard.md").read_text()
  assert files.read_json(out / "leaderboard.json") == files.read_json(
    in_bucket / "leaderboard.json"
  )
  assert str(out / "forgetting.png") in capsys.readouterr().out
  assert len(read_results(in_bucket / "results")) == 3


def test_models_are_exported_to_a_bucket_and_brought_in_from_there(home, tmp_path, capsys):
  places.send(model_folder(tmp_path / "mine"), home / "models" / "mine")
  exported, again = home / "exported", home / "again"
  assert convert.main([str(home / "models" / "mine"), str(exported)]) == 0
  assert "config and model card" in capsys.readouterr().out
  assert convert.main([str(exported), str(again), "--preset=tiny"]) == 0
  both = (params_of(folder, TINY) for folder in (tmp_path / "mine", again))
  jax.tree.map(np.testing.assert_array_equal, *both)
  assert files.read_json(again / "done.json")["weights"]["source"] == str(exported)


def test_what_changed_in_a_bucket_is_copied_again_and_nothing_else(home, tmp_path):
  folder = home / "folder"
  for name in ("a/one.txt", "two.txt"):
    files.write_text(folder / name, name)
  copy = copies.on_disk(folder, tmp_path, "the folder")
  assert (copy / "a" / "one.txt").read_text() == "a/one.txt"
  seen = {path: path.stat().st_mtime_ns for path in copy.rglob("*.txt")}
  assert copies.on_disk(folder, tmp_path, "the folder") == copy
  assert {path: path.stat().st_mtime_ns for path in copy.rglob("*.txt")} == seen
  files.write_text(folder / "two.txt", "changed")
  (folder / "a" / "one.txt").unlink()
  copies.on_disk(folder, tmp_path, "the folder")
  assert [path.read_text() for path in copy.rglob("*.txt")] == ["changed"]
  single = copies.on_disk(folder / "two.txt", tmp_path, "the file")
  assert single.read_text() == "changed"


def test_an_upload_that_was_cut_short_is_made_again(home, tmp_path_factory, on_disk):
  workdir = home / "cut"
  places.send(on_disk / "release", workdir / "release")
  for name in ("manifest.json", "identities_metadata.json"):
    (workdir / "release" / name).unlink()
  flags = [*QUIET, "--config.method.name=none"]
  run(workdir, 1, devices=2, flags=flags, environments=[machine(tmp_path_factory)])
  assert releases.open_release(str(workdir / "release")).digest == (
    releases.open_release(on_disk / "release").digest
  )


@pytest.mark.parametrize(
  "name, reason",
  [("no-such-bucket", "Cannot write gs://no-such-bucket/run:"), (bucket.CLOSED, "Forbidden")],
)
def test_a_bucket_that_cannot_be_written_is_named_before_anything_is_made(home, name, reason):
  del home
  ((code, _, said),) = begin(f"gs://{name}/run", 1, devices=1).wait()
  assert code == 1 and reason in said and "Traceback" not in said
  assert "generate release:" not in said


def test_a_second_run_is_refused_while_the_first_lives_and_takes_over_when_it_is_gone(
  home, monkeypatch, said
):
  monkeypatch.setattr(owner, "BEAT", 0.2)
  monkeypatch.setattr(owner, "GONE", 1.5)
  workdir = home / "owned"
  mark = workdir / owner.MARK
  with owner.owning(workdir):
    assert files.read_json(mark)["process"] == os.getpid()
    with pytest.raises(InputError, match=rf"Another run uses {workdir}"), owner.owning(workdir):
      pass
  assert not mark.exists() and "waiting for its heartbeat" in said()
  # One whose machine is gone, and one of this machine that was killed.
  dead = subprocess.Popen([sys.executable, "-c", ""])
  dead.wait()
  for elsewhere in ({"machine": "another"}, {"process": dead.pid}):
    files.write_json(mark, {**owner._who(), "beat": 1.0, **elsewhere})
    with owner.owning(workdir):
      assert files.read_json(mark)["process"] == os.getpid()


def test_a_folder_of_results_that_may_not_be_read_is_named(home, capsys):
  del home
  assert report.main([f"gs://{bucket.CLOSED}/run", f"--out=gs://{bucket.NAME}/report"]) == 1
  assert "error: gs://closed/run cannot be read (Forbidden" in capsys.readouterr().err


def test_a_release_that_is_not_there_is_named(home, tmp_path):
  with pytest.raises(InputError, match="the release is not there"):
    releases.open_release(f"{home}/nothing", scratch=tmp_path)
  with pytest.raises(InputError, match="gs://closed/x: the release cannot be listed"):
    releases.open_release(f"gs://{bucket.CLOSED}/x", scratch=tmp_path)


def test_a_full_scratch_disk_is_named(home, tmp_path, monkeypatch):
  files.write_text(home / "large" / "file.txt", "x" * 100)
  monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 5, 5))
  with pytest.raises(InputError, match=r"Not enough disk space in .* for a copy of the release"):
    copies.on_disk(home / "large", tmp_path, "the release")
