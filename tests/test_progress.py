"""What a run says of its progress: lines in a log, and how long each stage took."""

import itertools
import json
import re
import time

import pytest
from rich.table import Table

from salmu_jax.runtime import compilations, progress, times, workdir


@pytest.fixture
def log(monkeypatch, tmp_path):
  """A console that is no terminal, with a file behind it."""
  with open(tmp_path / "log", "w+") as file:
    monkeypatch.setattr(
      progress, "console", progress.terminal(file=file, width=60, highlight=False)
    )
    yield file


def lines(file):
  file.seek(0)
  return file.read().splitlines()


def test_a_bar_in_a_log_is_a_line_every_half_minute_with_rate_and_time_left(log, monkeypatch):
  clock = itertools.count(100, 10)  # ten seconds between two looks at it
  monkeypatch.setattr(time, "monotonic", lambda: next(clock))
  with progress.bar("pretrain clean", 1000) as update:
    for done in range(400, 500, 5):  # gone on with after 400 steps
      update(done, f"loss {done / 100:.2f}  [accuracy] 0.5")
  first, *rest = lines(log)
  line = "  pretrain clean: 415 of 1,000, 0.5/s, 19 min 30 s left  loss 4.15  [accuracy] 0.5"
  assert first == line and len(rest) == 5


def test_a_bar_in_a_log_that_ends_soon_or_stands_still_divides_by_nothing(log, monkeypatch):
  with progress.counting("rows", 100) as tick:
    for _ in range(100):
      tick()
  assert lines(log) == []
  monkeypatch.setattr(progress, "_EVERY", 0)
  with progress.bar("rows", 100) as update:
    update(0)
    update(0)
  assert lines(log)[-1] == "  rows: 0 of 100, 0.0/s"


def test_a_terminal_shows_a_bar_and_no_lines(monkeypatch, tmp_path):
  monkeypatch.setattr(progress, "_EVERY", 0)
  with open(tmp_path / "terminal", "w+") as file:
    console = progress.terminal(file=file, width=120, force_terminal=True)
    monkeypatch.setattr(progress, "console", console)
    with progress.bar("pretrain clean", 10) as update:
      for done in range(10):
        update(done)
    assert not any("of 10," in line for line in lines(file))
    assert any("━" in line for line in lines(file))


@pytest.fixture
def recorder(monkeypatch, log):
  monkeypatch.setattr(times, "recorder", times.Recorder())
  return times.recorder


def shown(recorder, log):
  """The rows of the table, their cells divided by one space."""
  said = len(lines(log))
  progress.console.print(recorder.table())
  return [" ".join(re.findall(r"[^\s│]+", line)) for line in lines(log)[said:]]


def run_stages(tmp_path, names):
  times.recorder.begin(tmp_path)
  for name in names:
    workdir.run_stage(tmp_path / name, name, {}, lambda folder: {})


def test_the_table_and_its_file_list_every_stage_with_what_was_done_before(recorder, log, tmp_path):
  run_stages(tmp_path, ["generate", "pretrain"])
  run_stages(tmp_path, ["generate", "pretrain", "unlearn"])
  kept = json.loads((tmp_path / "times.json").read_text())
  assert list(kept["stages"]) == ["generate", "pretrain", "unlearn"]
  assert kept["last_run"]["reused"] == ["generate", "pretrain"]
  assert kept["last_run"]["seconds"] > kept["stages"]["unlearn"] >= 0
  assert 2**25 < kept["last_run"]["peak_memory_bytes"] < 2**40
  table = shown(recorder, log)
  assert "generate 0.0 s done before" in table and "unlearn 0.0 s" in table
  assert any(row.startswith("this run 0.") and "peak memory" in row for row in table)


def test_stages_of_other_runs_in_a_workdir_stay_in_its_file_and_out_of_the_table(
  recorder, log, tmp_path
):
  run_stages(tmp_path, ["generate", "one"])
  run_stages(tmp_path, ["generate", "two"])
  kept = json.loads((tmp_path / "times.json").read_text())["stages"]
  assert list(kept) == ["generate", "one", "two"]
  assert [row.split()[0] for row in shown(recorder, log)[2:4]] == ["generate", "two"]


def test_a_run_in_which_nothing_is_done_leaves_the_file_alone(recorder, log, tmp_path):
  run_stages(tmp_path, ["generate"])
  before = (tmp_path / "times.json").stat().st_mtime_ns
  run_stages(tmp_path, ["generate"])
  assert (tmp_path / "times.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"stages": 3}'])
def test_a_spoilt_file_loses_earlier_times_and_nothing_else(content, recorder, log, tmp_path):
  run_stages(tmp_path, ["generate"])
  (tmp_path / "times.json").write_text(content)
  run_stages(tmp_path, ["generate", "unlearn"])
  assert "times.json cannot be read" in "".join(lines(log))
  assert "generate done before" in shown(recorder, log)
  assert list(json.loads((tmp_path / "times.json").read_text())["stages"]) == ["unlearn"]


def test_compiled_and_read_programs_are_those_of_the_run(recorder, log, tmp_path, monkeypatch):
  tallies = iter([compilations.Tally(50, 30, 9.0), compilations.Tally(94, 71, 12.5)])
  monkeypatch.setattr(compilations, "tally", lambda: next(tallies))
  recorder.begin(tmp_path)
  recorder.done("pretrain", 100.0)
  run = json.loads((tmp_path / "times.json").read_text())["last_run"]
  assert (run["programs_compiled"], run["programs_read"], run["compiling_seconds"]) == (3, 41, 3.5)


def test_brackets_in_names_and_paths_are_text_and_no_markup(capsys):
  odd = "tag[/bold]x[red]:smile:"
  terminal = progress.terminal(width=200)
  terminal.print(odd)
  table = Table(odd)
  table.add_row(odd)
  terminal.print(table)
  with progress.bar(odd, 2) as update:
    update(1, odd)
  assert capsys.readouterr().out.count(odd) == 3
