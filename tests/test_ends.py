"""How processes end: on signals, on Ctrl-C, and without the terminal that started them."""

import os
import pathlib
import pty
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parent.parent
STATUS = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}
WORDS = {
  signal.SIGTERM: "Stopped by SIGTERM",
  signal.SIGHUP: "Stopped by SIGHUP",
  signal.SIGINT: "Interrupted",
}


@pytest.fixture(autouse=True)
def heard():
  """Processes hear the signals that those who started the tests may have told to be ignored."""
  numbers = (signal.SIGINT, signal.SIGHUP)
  before = {number: signal.getsignal(number) for number in numbers}
  for number in numbers:
    signal.signal(number, signal.default_int_handler)
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


def begin(program, *words, **options):
  options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
  environment = os.environ | {"PYTHONPATH": str(ROOT)}
  return subprocess.Popen(
    [program, *words], cwd=ROOT, env=environment, start_new_session=True, **options
  )


def asleep(kind, *more):
  """A process of tests/sleepers.py that has said that it is ready."""
  process = begin(sys.executable, "tests/sleepers.py", kind, *more)
  assert process.stdout.readline() == "ready\n"
  return process


def ended(process, number):
  """What a process printed to stdout, once it has ended with the status of a signal."""
  stdout, stderr = process.communicate(timeout=60)
  assert process.returncode == STATUS[number], stderr
  line = f"{WORDS[number]}. Finished work is saved; rerun the same command to resume."
  assert stderr.split("\n") == ["", line, ""] or "saved" in stdout
  return stdout


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_signal_ends_what_takes_exceptions_for_its_own(number):
  process = asleep("stubborn")
  process.send_signal(number)
  assert "taken" in ended(process, number)


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_the_same_signal_again_does_not_disturb_what_ends(number):
  process = asleep("tidy")
  process.send_signal(number)
  assert process.stdout.readline() == "tidying\n"
  process.send_signal(number)  # as the shell does after the terminal
  assert ended(process, number) == "tidy\n"


def test_a_line_that_a_signal_finds_being_written_is_written_once():
  for _ in range(20):
    process = begin(sys.executable, "tests/sleepers.py", "count")
    assert process.stdout.readline() == "0\n"
    process.send_signal(signal.SIGTERM)
    lines = process.stdout.read().split()  # what `ended` reads lacks what is in this buffer
    ended(process, signal.SIGTERM)
    assert lines == [str(number) for number in range(1, len(lines) + 1)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_the_first_signal_lets_training_save_and_says_its_status(number):
  process = asleep("held")
  process.send_signal(number)
  assert ended(process, number) == "saved\n"


def test_a_second_signal_ends_training_at_once():
  process = asleep("held", "late")
  process.send_signal(signal.SIGTERM)
  time.sleep(0.3)
  assert process.poll() is None
  process.send_signal(signal.SIGTERM)
  assert ended(process, signal.SIGTERM) == ""


def test_a_hangup_that_terminal_and_shell_both_tell_is_one_and_another_signal_a_second():
  process = asleep("held", "late")
  for _ in range(2):
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
  process.send_signal(signal.SIGTERM)
  assert ended(process, signal.SIGTERM) == ""


def test_a_signal_after_the_work_is_saved_prints_no_traceback():
  process = asleep("saved")
  process.send_signal(signal.SIGTERM)
  assert process.stdout.readline() == "saved\n"
  time.sleep(0.2)
  process.send_signal(signal.SIGTERM)
  _, stderr = process.communicate(timeout=60)
  assert process.returncode == 143 and "Traceback" not in stderr and "Exception" not in stderr


@pytest.mark.parametrize("whole_group", [True, False], ids=["from a terminal", "by its number"])
def test_ctrl_c_prints_one_line_and_workers_end_with_their_parent(whole_group):
  process = asleep("workers")
  if whole_group:
    os.killpg(process.pid, signal.SIGINT)
  else:
    process.send_signal(signal.SIGINT)
  ended(process, signal.SIGINT)
  for _ in range(100):
    try:
      os.killpg(process.pid, 0)
    except ProcessLookupError:
      return
    time.sleep(0.1)
  raise AssertionError("workers are left")


def test_ctrl_c_during_imports_is_answered_in_one_line():
  process = begin(sys.executable, "main.py", "--config=configs/smoke.py", "--workdir=/dev/null/x")
  caught = pathlib.Path(f"/proc/{process.pid}/status")
  for _ in range(1000):
    mask = next(line for line in caught.read_text().splitlines() if line.startswith("SigCgt"))
    if int(mask.split()[1], 16) & 1 << (signal.SIGHUP - 1):
      break
    time.sleep(0.005)
  process.send_signal(signal.SIGINT)
  assert ended(process, signal.SIGINT) == ""


def test_sigterm_while_a_release_is_made_is_no_success(tmp_path):
  process = begin(
    sys.executable, "main.py", "--config=configs/smoke.py", f"--workdir={tmp_path / 'run'}"
  )
  for line in process.stderr:
    if line.startswith("generate release"):
      break
  process.send_signal(signal.SIGTERM)
  _, stderr = process.communicate(timeout=60)
  assert process.returncode == 143 and "Stopped by SIGTERM" in stderr
  assert "Traceback" not in stderr and not list(tmp_path.rglob("*/.*.unfinished"))


@pytest.mark.parametrize("hangup", [True, False], ids=["told", "under nohup"])
def test_a_lost_terminal_ends_a_command_unless_it_ignores_that(hangup, tmp_path):
  ours, theirs = pty.openpty()
  # What the signal is to end talks for long, so that a slow machine does not find it at its end.
  ignored, lines = ("", 1000) if hangup else ("trap '' HUP; ", 20)
  command = f"{ignored}exec {sys.executable} tests/sleepers.py talk {tmp_path / 'done'} {lines}"
  process = begin("bash", "-c", command, stdin=theirs, stdout=theirs, stderr=theirs)
  os.close(theirs)
  os.read(ours, 6)
  os.close(ours)
  process.send_signal(signal.SIGHUP)
  assert process.wait(60) == (129 if hangup else 0)
  assert (tmp_path / "done").exists() != hangup


@pytest.mark.parametrize("columns, shown", [("40", "\\u5fd8"), ("1", "caf")])
def test_a_terminal_without_a_character_or_without_room_gets_what_it_can_show(columns, shown):
  code = (
    "from salmu_jax.runtime import pipes\n"
    "with pipes.ending_quietly():\n"
    "  from salmu_jax.runtime import progress\n"
    "  progress.terminal().print('\u5fd8\u308c')\n"
    "  print('caf\u00e9')"
  )
  plain = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": columns, "TERM": "dumb"}
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, env=plain, capture_output=True, text=True
  )
  assert done.returncode == 0 and done.stderr == ""
  assert shown in done.stdout and "caf\\xe9" in done.stdout


def test_errors_into_head_end_the_command_without_a_word():
  code = (
    "from salmu_jax.runtime import pipes\n"
    "with pipes.ending_quietly():\n"
    "  from salmu_jax.runtime import progress\n"
    "  for _ in range(20_000): progress.console.print('a line')"
  )
  line = f'{sys.executable} -c "{code}" 2>&1 | head -1; echo ${{PIPESTATUS[0]}}'
  done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
  assert done.stdout == "a line\n141\n" and done.stderr == ""


def test_without_a_home_folder_the_report_is_made(tmp_path):
  code = (
    "import pwd\n"
    "pwd.getpwuid = lambda number: {}[number]\n"
    "from salmu_jax.report import __main__ as command\n"
    "with command.pipes.ending_quietly():\n"
    f"  raise SystemExit(command.main(['experiments/mini/results', '--out={tmp_path}']))"
  )
  homeless = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, env=homeless, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
