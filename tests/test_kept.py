"""Kept arrays: computed once, and again where they were lost."""

import numpy as np
import pytest
from damages import cut, flip, replace_by_broken_link, replace_by_folder

from salmu_jax.errors import InputError
from salmu_jax.runtime import files, kept

VALUE = np.arange(12, dtype=np.float32).reshape(3, 4)


class Maker:
  """Makes VALUE, and counts how often."""

  def __init__(self):
    self.calls = 0

  def __call__(self):
    self.calls += 1
    return VALUE


def test_an_array_is_made_once(tmp_path):
  make = Maker()
  for _ in range(3):
    np.testing.assert_array_equal(kept.array(tmp_path / "new" / "a.npy", make), VALUE)
  assert make.calls == 1


def test_nothing_is_kept_without_a_place():
  make = Maker()
  for _ in range(2):
    np.testing.assert_array_equal(kept.array(None, make), VALUE)
  assert make.calls == 2


DAMAGES = {
  "cut": lambda content: content[:-5],
  "empty": lambda content: b"",
  "a flipped bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
  "another file": lambda content: b"something else, longer than a digest is" * 2,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_array_is_named_and_made_again(damage, tmp_path, capsys):
  path, make = tmp_path / "a.npy", Maker()
  kept.array(path, make)
  path.write_bytes(damage(path.read_bytes()))
  np.testing.assert_array_equal(kept.array(path, make), VALUE)
  assert "a.npy" in capsys.readouterr().err
  kept.array(path, make)
  assert make.calls == 2


def test_a_folder_in_the_place_of_an_array_costs_time_only(tmp_path, capsys):
  path, make = tmp_path / "a.npy", Maker()
  (path / "inside").mkdir(parents=True)
  np.testing.assert_array_equal(kept.array(path, make), VALUE)
  assert "is not kept" in capsys.readouterr().err


def test_an_array_that_cannot_be_written_is_used_and_said_not_to_be_kept(
  tmp_path, monkeypatch, capsys
):
  def full(path):
    raise InputError("No space left on device")

  monkeypatch.setattr(files, "replacing", full)
  np.testing.assert_array_equal(kept.array(tmp_path / "a.npy", Maker()), VALUE)
  assert "a.npy is not kept" in capsys.readouterr().err


def test_a_json_value_is_written_in_the_place_of_whatever_is_there(tmp_path):
  path = tmp_path / "mark.json"
  assert kept.json_value(path) is None
  kept.write_json(path, ["a"])
  assert kept.json_value(path) == ["a"]
  for damage in (flip, cut, replace_by_folder, replace_by_broken_link):
    damage(path)
    kept.write_json(path, ["a"])
    assert kept.json_value(path) == ["a"]


@pytest.mark.parametrize("content", ["", "\0\0", "[" * 10**5, "9" * 5000])
def test_a_json_value_that_is_damaged_counts_as_missing_and_is_named(content, tmp_path, said):
  (tmp_path / "mark.json").write_text(content)
  assert kept.json_value(tmp_path / "mark.json") is None
  assert "mark.json is damaged and is made again" in said()
