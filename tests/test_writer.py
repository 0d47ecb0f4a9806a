"""The log of a training that goes on: what was damaged after the checkpoint is written again."""

import json

import pytest

from salmu_jax.errors import InputError
from salmu_jax.train import writer


def row(step):
  return json.dumps({"step": step, "loss": 1.0, "seconds": float(step)}).encode() + b"\n"


def resumed(folder, *lines, step=10):
  """The steps of the log once a training goes on after a step."""
  (folder / writer.FILE).write_bytes(b"".join(lines))
  log = writer.Writer(folder, tensorboard=False)
  log.resume(step)
  return [kept["step"] for kept in writer.read(folder / writer.FILE)]


DAMAGED = {
  "NUL": b"\0" * 64 + b"\n",
  "not UTF-8": b"\xff\xfe\n",
  "no JSON": b"{]\n",
  "no step": b'{"loss": 1.0, "seconds": 1.0}\n',
  "a list": b"[]\n",
  "true for a step": b'{"step": true, "seconds": 1.0}\n',
  "deep": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_after_the_checkpoint_is_cut_off_and_said(line, tmp_path, capsys):
  assert resumed(tmp_path, row(5), row(10), row(15), line) == [5, 10]
  assert "metrics.jsonl, line 4 is damaged" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_before_the_checkpoint_is_named(line, tmp_path):
  with pytest.raises(InputError, match=r"metrics\.jsonl, line 2 is damaged"):
    resumed(tmp_path, row(5), line, row(10))


@pytest.mark.parametrize("steps", [(5, 5, 10), (10, 5), (5, 10, 7)])
def test_steps_that_do_not_rise_are_named(steps, tmp_path):
  (tmp_path / writer.FILE).write_bytes(b"".join(map(row, steps)))
  with pytest.raises(InputError, match=r"line \d is damaged: step \d+ comes after step \d+"):
    writer.read(tmp_path / writer.FILE)


def test_a_log_that_ends_in_nothing_but_zeros_goes_on(tmp_path):
  assert resumed(tmp_path, row(5), row(10), b"\0" * 512) == [5, 10]
  (tmp_path / writer.FILE).write_bytes(b"\0" * 512)
  assert resumed(tmp_path, b"\0" * 512) == []


def test_a_folder_in_the_place_of_the_log_is_named(tmp_path):
  (tmp_path / writer.FILE).mkdir()
  with pytest.raises(InputError, match=r"metrics\.jsonl cannot be read \(Is a directory\)"):
    writer.read(tmp_path / writer.FILE)
