"""Writes are complete or absent, and a full disk is reported in words."""

import errno
import json
import os
import shutil
from collections import namedtuple

import pytest

from salmu_jax import command
from salmu_jax.errors import InputError
from salmu_jax.runtime import files, workdir
from salmu_jax.train import writer


def test_a_write_that_fails_leaves_the_old_content_and_no_litter(tmp_path):
  path = tmp_path / "result.json"
  files.write_json(path, {"a": 1})
  with pytest.raises(RuntimeError), files.replacing(path) as temporary:
    temporary.write_text("half")
    raise RuntimeError
  assert json.loads(path.read_text()) == {"a": 1}
  assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_full_disk_is_named_and_harms_nothing(tmp_path):
  path = tmp_path / "result.json"
  files.write_text(path, "old")
  with pytest.raises(InputError, match=r"Cannot write .*result.json: No space left"):
    with files.replacing(path):
      raise OSError(errno.ENOSPC, "No space left on device")
  assert path.read_text() == "old"
  assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_full_disk_is_recognised_behind_a_librarys_own_error():
  def wrapped(cause):
    try:
      try:
        raise cause
      except type(cause) as inner:
        raise RuntimeError("save failed") from inner
    except RuntimeError as outer:
      return outer

  assert command.disk_is_full(wrapped(OSError(errno.ENOSPC, "No space left on device")))
  assert command.disk_is_full(
    wrapped(ValueError("RESOURCE_EXHAUSTED: No space left on device [28]"))
  )
  assert not command.disk_is_full(wrapped(OSError(errno.EACCES, "Permission denied")))


def test_nan_is_refused_in_json_and_nothing_is_written(tmp_path):
  with pytest.raises(InputError, match="not finite"):
    files.write_json(tmp_path / "x.json", {"a": float("nan")})
  assert not list(tmp_path.iterdir())


def test_missing_space_is_found_before_work_starts(tmp_path, monkeypatch):
  usage = namedtuple("usage", "total used free")
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**30, 2**30 - 2**20, 2**20))
  files.require_space(tmp_path / "not" / "there", 2**19, "the release")
  with pytest.raises(InputError, match="about 5 MiB are needed, 1 MiB are free"):
    files.require_space(tmp_path / "not" / "there", 5 * 2**20, "the release")


def test_digest_ignores_the_order_of_keys():
  assert files.digest({"a": 1, "b": 2}) == files.digest({"b": 2, "a": 1})
  assert files.digest({"a": 1}) != files.digest({"a": 2})


def test_read_json_says_what_is_wrong(tmp_path):
  with pytest.raises(InputError, match=r"gone\.json is missing"):
    files.read_json(tmp_path / "gone.json")
  (tmp_path / "cut.json").write_text('{"a": [1, ')
  with pytest.raises(InputError, match=r"cut\.json is not valid JSON"):
    files.read_json(tmp_path / "cut.json")


def test_a_folder_named_as_unfinished_files_are_is_left_alone(tmp_path):
  (tmp_path / ".mine.unfinished").mkdir()
  (tmp_path / ".x.json.unfinished").touch()
  (tmp_path / ".y.unfinished").symlink_to(tmp_path / ".mine.unfinished")
  files.remove_unfinished(tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == [".mine.unfinished"]


DAMAGED = {
  "cut": (b'{"a": ', "is not valid JSON"),
  "empty": (b"", "is not valid JSON"),
  "no UTF-8": (b"\xff\xfe", "is not valid JSON"),
  "nested deep": (b"[" * 100_000, "is nested too deep for JSON|is not valid JSON"),
  "a number of many digits": (b"1" * 5000, "is not valid JSON"),
  "a key twice": (b'{"a": {"b": 1, "b": 3}}', r"not valid JSON \(the key 'b' occurs twice\)"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_json_file_is_named(case, tmp_path):
  content, message = DAMAGED[case]
  (tmp_path / "x.json").write_bytes(content)
  with pytest.raises(InputError, match=message):
    files.read_json(tmp_path / "x.json")


def test_a_folder_in_the_place_of_a_file_and_a_missing_file_are_named(tmp_path):
  (tmp_path / "x.json").mkdir()
  with pytest.raises(InputError, match=r"x\.json cannot be read \(Is a directory\)"):
    files.read_json(tmp_path / "x.json")
  with pytest.raises(InputError, match=r"y\.json is missing"):
    files.read_json(tmp_path / "y.json")


def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(tmp_path):
  os.mkfifo(tmp_path / "x.json")
  with pytest.raises(InputError, match=r"x\.json is a pipe or a socket"):
    files.read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
  "content, message",
  [
    ("[]", "holds list, not an object"),
    ("null", "holds NoneType, not an object"),
    ("{}", "is damaged: it has no 'seconds'"),
    ('{"seconds": "3"}', "is damaged: 'seconds' is '3'"),
  ],
)
def test_an_object_has_the_fields_of_the_types_that_are_asked_for(content, message, tmp_path):
  (tmp_path / "done.json").write_text(content)
  with pytest.raises(InputError, match=message):
    workdir.read_done(tmp_path)
  (tmp_path / "done.json").write_text('{"seconds": 3, "more": 1}')
  assert workdir.read_done(tmp_path) == {"seconds": 3, "more": 1}


@pytest.mark.parametrize(
  "line", [b"no JSON", b"\0\0\0", b"\xff", b"3", b'{"seconds": 1}', b'{"step": "1", "seconds": 1}']
)
def test_a_damaged_row_of_a_training_log_is_named_by_its_line(line, tmp_path):
  log = tmp_path / "metrics.jsonl"
  whole = b'{"step": 1, "seconds": 2.0}\n'
  second = b'{"step": 2, "seconds": 3.0}\n'
  log.write_bytes(whole + second + b'{"step": 3')
  assert len(writer.read(log)) == 2  # what a kill has cut is not there
  log.write_bytes(whole + line + b"\n" + whole)
  with pytest.raises(InputError, match=r"metrics\.jsonl, line 2 is damaged"):
    writer.read(log)


def test_settings_of_a_model_name_its_preset_and_how_layers_lie(tmp_path):
  for content in (
    "{}",
    '{"model": []}',
    '{"model": {"preset": "tiny"}}',
    '{"model": {"scan": true}}',
  ):
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(InputError, match=r"settings\.json"):
      workdir.read_model_settings(tmp_path)


def test_what_a_killed_process_left_unfinished_is_removed_and_nothing_else(tmp_path):
  (tmp_path / "results").mkdir()
  with pytest.raises(KeyboardInterrupt), files.replacing(tmp_path / "results" / "a.json") as left:
    name = left.name
    raise KeyboardInterrupt
  (tmp_path / "results" / name).write_text("half")
  (tmp_path / "results" / ".hidden").write_text("mine")
  (tmp_path / "results" / "a.json").write_text("{}")
  files.remove_unfinished(tmp_path)
  assert {path.name for path in (tmp_path / "results").iterdir()} == {".hidden", "a.json"}
