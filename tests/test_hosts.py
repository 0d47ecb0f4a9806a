"""Several processes over loopback make one run, which survives deaths and signals."""

import signal
import time

import jax
import pytest
from processes import MODELS, QUIET, Processes, assert_same_run, begin, curve, run, scores

from salmu_jax.errors import InputError
from salmu_jax.runtime import hosts
from salmu_jax.train import writer


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("alone")
  run(workdir, 1, devices=4, flags=QUIET)
  return workdir


@pytest.fixture(scope="module")
def two(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("two")
  return workdir, run(workdir, 2, devices=2)


def test_two_processes_of_two_devices_run_as_one_of_four(alone, two):
  assert_same_run(two[0], alone)


def test_four_processes_of_split_parameters_unlearn_as_two_of_whole_ones(two, tmp_path):
  rules = r"(('(kernel|/embedding)$', ('data',)), ('.*', ()))"
  run(tmp_path, 4, flags=[*from_models_of(two[0]), f"--config.sharding={rules}"])
  assert_same_run(tmp_path, two[0], MODELS[2:])
  for model in MODELS[:2]:  # the same weights, read and evaluated on another mesh
    measured, expected = (jax.tree.leaves(scores(w, model)[:2]) for w in (tmp_path, two[0]))
    assert len(measured) > 10 and measured == pytest.approx(expected, abs=1e-5)


def test_pictures_are_decoded_once_for_all_processes(two):
  folder = two[0] / "stored_pictures"
  kept = {path.stem for path in folder.glob("*.u8")}
  assert {"forget", "holdout_identity", "retain_synth", "retain_real", "zero_shot"} <= kept
  assert {path.stem for path in folder.glob("*.json")} == kept
  assert len(list(folder.iterdir())) == 2 * len(kept)


def test_only_the_first_process_prints_and_all_end_well(two):
  (_, stdout, stderr), (_, other_stdout, other_stderr) = two[1]
  assert "finetune" in stdout and "Done in" in stderr
  lines = (other_stdout + other_stderr).splitlines()
  assert not [line for line in lines if not line.startswith("[Gloo]")]


def test_a_finished_run_of_several_processes_is_left_alone(two):
  times = lambda: {p: p.stat().st_mtime_ns for p in two[0].rglob("*") if p.is_file()}
  before = times()
  ended = run(two[0], 2, devices=2)
  assert "Nothing to do" in ended[0][2] and times() == before


def from_models_of(workdir):
  """Flags for a run that only unlearns: release and start models are those of another run."""
  models = [f"--config.init.{name}={workdir}/models/{name}" for name in MODELS[:2]]
  return [f"--config.release={workdir}/release", *models, *QUIET]


def unlearning_log(workdir):
  return workdir / "models" / "finetune" / "metrics.jsonl"


def steps_of(workdir):
  """The number of steps in the log of the unlearning."""
  log = unlearning_log(workdir)
  return max([0, *(row["step"] for row in writer.read(log))]) if log.exists() else 0


def unlearning_from(workdir, step, seconds=120):
  """Returns once the unlearning has gone so far, or has gone on from a checkpoint to there."""
  before = unlearning_log(workdir).exists() and unlearning_log(workdir).stat().st_ino
  for _ in range(seconds * 50):
    if steps_of(workdir) >= step and unlearning_log(workdir).stat().st_ino != before:
      return
    time.sleep(0.02)
  raise AssertionError(f"{unlearning_log(workdir)} has not reached step {step} after {seconds} s")


def assert_same_bits(workdir, other):
  assert scores(workdir, "finetune") == scores(other, "finetune")
  assert curve(workdir, "finetune") == curve(other, "finetune")


def killed(workdir, number, flags, step):
  """What the other of two processes printed when one of them was killed after a step."""
  processes = begin(workdir, 2, devices=2, flags=flags)
  unlearning_from(workdir, step)
  processes.started[number].send_signal(signal.SIGKILL)
  began = time.monotonic()
  ended = processes.wait(timeout=120)
  assert time.monotonic() - began < 100
  code, _, err = ended[1 - number]
  assert code not in (0, None)
  return err


def test_two_processes_stop_together_and_after_any_death_go_on_to_the_same_bits(two, tmp_path):
  flags = from_models_of(two[0])
  processes = begin(tmp_path, 2, devices=2, flags=flags)
  unlearning_from(tmp_path, 4)
  processes.started[1].send_signal(signal.SIGTERM)
  ended = processes.wait()
  assert [code for code, _, _ in ended] == [143, 143]
  assert "Stopped after" in ended[0][2] and not (tmp_path / "results" / "finetune.json").exists()
  for number in (0, 1):
    err = killed(tmp_path, number, flags, steps_of(tmp_path) + 4)
    # If the network does not report the loss, JAX misses a heartbeat and kills the process itself.
    assert "Lost another process" in err or "another task died" in err
  run(tmp_path, 2, devices=2, flags=flags)
  assert_same_bits(tmp_path, two[0])


def test_a_lone_process_stops_at_sigterm_and_resumes_with_the_same_bits(alone, tmp_path):
  flags = from_models_of(alone)
  processes = begin(tmp_path, 1, devices=4, flags=flags)
  unlearning_from(tmp_path, 4)
  processes.started[0].send_signal(signal.SIGTERM)
  ((code, _, err),) = processes.wait()
  assert code == 143 and "Stopped after" in err and "Rerun the same command to resume" in err
  run(tmp_path, 1, devices=4, flags=flags)
  assert_same_bits(tmp_path, alone)


def test_weights_that_one_process_writes_are_read_split_by_all(tmp_path):
  commands = [["tests/hostimport.py", str(tmp_path), "ADDRESS", "2", str(n)] for n in range(2)]
  for number, (code, stdout, stderr) in enumerate(Processes(commands, devices=2).wait()):
    assert code == 0 and f"read by {number}" in stdout, stderr


def test_methods_that_measure_find_the_same_on_parameters_split_over_two_processes():
  commands = [["tests/hostmethods.py", "ADDRESS", "2", str(n)] for n in range(2)]
  for number, (code, stdout, stderr) in enumerate(Processes(commands, devices=2).wait()):
    assert code == 0 and f"same in {number}" in stdout, stderr


def test_processes_with_different_configs_are_refused(tmp_path):
  ended = begin(tmp_path, 2, own_flags=[(), ("--config.seed=1",)]).wait()
  for code, _, _err in ended:
    assert code != 0
  assert "Process 1 has another config or workdir than process 0" in ended[0][2]


def test_a_process_with_another_number_of_processes_is_refused(tmp_path):
  first, second = begin(tmp_path, 2, own_flags=[(), ("--processes=3",)]).started
  _, err = second.communicate(timeout=120)
  first.kill()
  first.communicate()
  assert second.returncode != 0
  assert "started with --processes=3, but the first with 2" in err


def test_a_missing_first_process_is_reported():
  with pytest.raises(
    InputError, match=r"No process listens at --coordinator=127\.0\.0\.1:1 after 1 s"
  ):
    hosts.start("127.0.0.1:1", 2, 1, timeout=1)


@pytest.mark.parametrize(
  "flags, message",
  [
    (("", 2, None), "need --coordinator"),
    (("somewhere", 2, 0), "not HOST:PORT"),
    ((":5000", 2, 0), "not HOST:PORT"),
    (("host:", 2, 1), "not HOST:PORT"),
    (("host:http", 2, 1), "not HOST:PORT"),
    (("http://host:80", 2, 1), "not HOST:PORT"),
    (("host:-1", 2, 1), "not HOST:PORT"),
    (("host:\u00b2", 2, 1), "not HOST:PORT"),
    (("host:" + "9" * 5000, 2, 1), "not HOST:PORT"),
    (("host:0", 2, 1), "ports are from 1 to 65535"),
    (("host:70000", 2, 1), "ports are from 1 to 65535"),
    (("127.0.0.1:5000", 2, -1), "--processes=2 and --process=-1"),
    (("127.0.0.1:5000", 0, 0), "--processes=0 and --process=0"),
    (("auto", 2, 0), "leave out --processes and --process"),
    (("127.0.0.1:5000", 2, 2), "--processes=2 and --process=2"),
    (("127.0.0.1:5000", None, 0), "needs --processes"),
  ],
)
def test_contradicting_flags_are_refused(flags, message):
  with pytest.raises(InputError, match=message):
    hosts.start(*flags)
