"""Damaged checkpoints: the one before takes their place, and the run ends with the same bits."""

import shutil

import jax
import numpy as np
import optax
import pytest
from damages import DAMAGES, flip
from littlefit import Killed, fit, killed_at, logged

from salmu_jax.errors import InputError
from salmu_jax.train import checkpoint


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  folder = tmp_path_factory.mktemp("unbroken")
  return folder, fit(folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
  """A run that was killed in step 10; it has checkpoints of steps 4 and 8."""
  folder = tmp_path_factory.mktemp("killed")
  with pytest.raises(Killed):
    fit(folder, killed_at(10))
  return folder


@pytest.fixture
def run(killed, tmp_path):
  shutil.copytree(killed, tmp_path / "run")
  return tmp_path / "run"


def same(folder, state, unbroken):
  jax.tree.map(np.testing.assert_array_equal, state, unbroken[1])
  assert logged(folder) == logged(unbroken[0])


def files_of(step):
  """All files in the items of a checkpoint, and its checksums."""
  items = [path for item in ("state", "rows", "metrics") for path in (step / item).rglob("*")]
  return [path for path in (*sorted(items), step / "sha256.json") if path.is_file()]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_any_damaged_file_of_the_newest_checkpoint_is_found(damage, killed, tmp_path):
  for number, path in enumerate(files_of(killed / "checkpoints" / "8")):
    copy = tmp_path / str(number)
    shutil.copytree(killed / "checkpoints", copy)
    damage(copy / path.relative_to(killed / "checkpoints"))
    assert checkpoint.any_in(copy)
    # Without its checksums a checkpoint is one of an earlier version.
    whole = path.name == "sha256.json" and damage in (
      DAMAGES["missing"],
      DAMAGES["a broken link"],
    )
    assert (copy / "8").exists() == whole, path
    assert (copy / "4").exists()


@pytest.mark.parametrize("which", ["array", "rows", "metrics"])
def test_a_run_with_a_damaged_checkpoint_goes_on_from_the_one_before(which, run, unbroken, said):
  newest = run / "checkpoints" / "8"
  largest = max((newest / "state").rglob("*"), key=lambda path: path.stat().st_size)
  flip({"array": largest, "rows": next((newest / "rows").glob("process*"))}.get(which, largest))
  if which == "metrics":
    shutil.rmtree(newest / "metrics")
  same(run, fit(run), unbroken)
  assert "checkpoints/8 was damaged" in said() and "trying checkpoint 4" in said()


@pytest.mark.parametrize("make", ["folder", "file", "link"])
def test_what_has_the_name_of_a_later_checkpoint_and_is_none_is_removed(make, run, unbroken, said):
  path = run / "checkpoints" / "99"
  match make:
    case "folder":
      path.mkdir()
    case "file":
      path.write_text("no checkpoint")
    case "link":
      path.symlink_to("nowhere")
  same(run, fit(run), unbroken)
  assert "checkpoints/99 was damaged (state is missing) and has been removed" in said()


def test_a_run_without_a_whole_checkpoint_starts_anew(run, unbroken, said):
  for step in ("4", "8"):
    shutil.rmtree(run / "checkpoints" / step / "state")
  assert not checkpoint.any_in(run / "checkpoints")
  same(run, fit(run), unbroken)
  assert "restarting the stage" in said()


def test_a_whole_checkpoint_of_an_earlier_version_has_no_checksums_and_is_used(run, unbroken):
  (run / "checkpoints" / "8" / "sha256.json").unlink()
  same(run, fit(run, killed_at(5)), unbroken)  # four steps are left


def test_a_damaged_checkpoint_without_checksums_is_refused_and_says_what_to_delete(run):
  newest = run / "checkpoints" / "8"
  (newest / "sha256.json").unlink()
  (newest / "state" / "_METADATA").write_text("{}")
  with pytest.raises(InputError, match=r"checkpoints/8 cannot be read .* Delete it to resume"):
    fit(run)
  assert newest.exists()


def test_a_checkpoint_of_another_optimizer_is_refused_with_the_differences_and_kept(run):
  with pytest.raises(
    InputError, match=r"checkpoints/8 is of another model or optimizer: opt_state"
  ):
    fit(run, tx=optax.sgd(1e-3))
  assert (run / "checkpoints" / "8" / "state").exists()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_in_the_place_of_the_checkpoints_is_refused_at_once(kind, run):
  shutil.rmtree(run / "checkpoints")
  if kind == "file":
    (run / "checkpoints").write_text("no folder")
  else:
    (run / "checkpoints").symlink_to("nowhere")
  with pytest.raises(InputError, match=r"checkpoints is not a folder"):
    fit(run)
