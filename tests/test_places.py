"""Places on a disk and in a bucket, as far as no bucket is needed (else tests/test_cloud.py)."""

import importlib.util
import logging
import pathlib
import subprocess
import sys

import fsspec
import pytest
from etils import epath

from salmu_jax import defaults
from salmu_jax.data import releases
from salmu_jax.errors import InputError
from salmu_jax.runtime import copies, files, places

ROOT = pathlib.Path(__file__).parent.parent


def test_a_place_on_a_disk_is_absolute_and_the_home_folder_is_known(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HOME", str(tmp_path / "me"))
  assert places.place("runs/mini") == tmp_path / "runs" / "mini"
  assert places.place("~/runs") == tmp_path / "me" / "runs"
  assert places.place(tmp_path) == tmp_path
  with pytest.raises(InputError, match=r"--workdir = '~nobody_of_that_name/x': there is no user"):
    places.place("~nobody_of_that_name/x", "--workdir")
  assert not places.is_remote("runs/mini") and not places.is_remote("hub:owner/name")


@pytest.mark.parametrize("name", ["a[1]", "a*", "b?/c"])
def test_a_folder_of_weights_has_no_wildcard_in_its_path(name, tmp_path, monkeypatch):
  with pytest.raises(InputError, match=r"DST = .* in its path, /.*treat as a wildcard"):
    places.folder(name, "DST")
  (tmp_path / name).mkdir(parents=True)
  monkeypatch.chdir(tmp_path / name)
  with pytest.raises(InputError, match=r"DST = 'x' has . in its path"):
    places.folder("x", "DST")
  assert places.place(name, "config.release") == tmp_path / name / name


@pytest.mark.parametrize("name", [".x.unfinished", "runs/.x.unfinished/", ".x.partial"])
def test_a_user_gives_nothing_the_name_of_an_unfinished_file(name):
  with pytest.raises(
    InputError, match=r"SRC = '.*' has a name reserved for unfinished files \(\.x\."
  ):
    places.place(name, "SRC")
  assert places.place(name) == pathlib.Path(name).absolute()  # no user named it
  assert places.place("x.unfinished", "SRC")


def test_a_folder_to_write_does_not_lie_in_one_that_is_read(tmp_path):
  (tmp_path / "a").mkdir()
  (tmp_path / "link").symlink_to(tmp_path / "a")
  for inside in ("a", "a/sub", "link/sub", "b/../a/sub"):
    with pytest.raises(InputError, match=r"DST = .* (is|lies in) SRC = .*/a', which is only read"):
      places.refuse_inside(tmp_path / inside, "DST", tmp_path / "a", "SRC")
  for outside in ("", "ab", "a/../b"):
    places.refuse_inside(tmp_path / outside, "DST", tmp_path / "a", "SRC")
  with pytest.raises(InputError, match="lies in"):
    places.refuse_inside(epath.Path("gs://b/a/c"), "DST", epath.Path("gs://b/a"), "SRC")
  places.refuse_inside(epath.Path("gs://b/a"), "DST", tmp_path, "SRC")


@pytest.mark.parametrize(
  "address, reason",
  [
    ("gs:/bucket/run", "write gs://BUCKET/FOLDER"),
    ("gs://", "names no place in a bucket"),
    ("s3:///", "names no place in a bucket"),
    ("az://container/run", "neither a path on a disk nor one of gs://BUCKET/FOLDER, s3://"),
    ("file:///tmp/run", "neither a path on a disk"),
    ("https://example.org/run", "neither a path on a disk"),
    ("hub:owner/name", "is a repository of the hub; it must be a file or folder"),
    ("runs/a\udcff", "has bytes that are not UTF-8"),
  ],
)
def test_an_address_that_nothing_opens_is_refused_and_never_local(address, reason, tmp_path):
  with pytest.raises(InputError) as error:
    places.place(address, "--workdir")
  assert f"--workdir = {address!r}" in str(error.value) and reason in str(error.value)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path, what", [("", "empty"), (" ", "blank")])
def test_a_path_of_nothing_is_refused(path, what):
  with pytest.raises(InputError, match=f"--out is {what}. Name a file or folder"):
    places.place(path, "--out")


@pytest.mark.parametrize("scheme, package", places.SCHEMES.items())
def test_a_bucket_without_its_package_is_refused_with_the_packages_name(
  scheme, package, monkeypatch
):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(InputError, match=f"pip install {package}"):
    places.place(f"{scheme}://bucket/run")
  with pytest.raises(InputError, match=rf"config.release = .*pip install {package}"):
    releases.open_release(f"{scheme}://bucket/release")


def test_the_package_of_a_bucket_logs_nothing_that_an_error_says_in_words(monkeypatch):
  monkeypatch.setattr(fsspec, "filesystem", lambda scheme: scheme)
  for scheme, package in places.SCHEMES.items():
    monkeypatch.setattr(logging.getLogger(package), "level", logging.NOTSET)
    assert places._file_system.__wrapped__(scheme) == scheme
    assert not logging.getLogger(f"{package}.retry").isEnabledFor(logging.ERROR)


def test_main_says_it_before_anything_is_computed_and_makes_no_folder(tmp_path):
  command = [sys.executable, "main.py", "--config=configs/smoke.py", "--workdir=az://box/run"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 1 and "--workdir = 'az://box/run'" in done.stderr
  assert "Traceback" not in done.stderr and not (ROOT / "az:").exists()


def test_scratch_is_the_workdir_on_a_disk_and_a_folder_of_the_cache_for_a_bucket(
  tmp_path, monkeypatch
):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  address = epath.Path("gs://bucket/run")
  assert places.scratch(tmp_path / "run", "") == tmp_path / "run"
  default = places.scratch(address, "")
  assert default.parent == tmp_path / "salmu_jax" / "scratch" and default.name.startswith("run-")
  named = places.scratch(address, str(tmp_path / "ssd"))
  assert named == tmp_path / "ssd" / default.name
  assert places.scratch(tmp_path / "run", str(tmp_path / "ssd")).name != default.name
  assert defaults.get_config().scratch == ""


def test_what_is_on_a_disk_is_not_copied(tmp_path):
  assert copies.on_disk(tmp_path, tmp_path / "scratch", "the release") == tmp_path
  assert not (tmp_path / "scratch").exists()


def test_a_lock_keeps_another_process_out(tmp_path):
  code = (
    "import sys; from salmu_jax.runtime import copies; import pathlib\n"
    "with copies.locked(pathlib.Path(sys.argv[1])): print('in', flush=True)"
  )
  with copies.locked(tmp_path):
    other = subprocess.Popen(
      [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with pytest.raises(subprocess.TimeoutExpired):
      other.wait(timeout=4)
  assert other.communicate(timeout=60)[0] == "in\n"


def test_the_size_of_a_file_and_what_cannot_be_written_are_told(tmp_path):
  files.write_text(tmp_path / "file", "12345")
  assert places.size(tmp_path / "file") == 5
  told = str(places.unwritable(tmp_path, PermissionError(13, "Permission denied")))
  assert told.startswith(f"Cannot write {tmp_path}: Permission denied. Existing content")
  in_the_way = str(places.unwritable(tmp_path / "file", FileExistsError(17, "File exists")))
  assert "Something else has that name" in in_the_way and "Free some" not in in_the_way
