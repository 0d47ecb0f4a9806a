"""Several processes over loopback are one run: same curve, same parameters; deaths and signals
are survived.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from salmu_jax.errors import InputError
from salmu_jax.runtime import hosts

ROOT = pathlib.Path(__file__).parent.parent
MODELS = ("clean", "compromised", "finetune")


def free_port():
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    return listener.getsockname()[1]


class Processes:
  """One process for each command (words after `python`; ADDRESS is filled in), of `devices`
  devices each.
  """

  def __init__(self, commands, devices):
    address, pipe, self.all = f"127.0.0.1:{free_port()}", subprocess.PIPE, []
    environment = {
      **os.environ,
      "JAX_COORDINATOR_BIND_ADDRESS": address,
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} "
      "--xla_backend_optimization_level=0",
    }
    for command in commands:
      words = [sys.executable, *(word.replace("ADDRESS", address) for word in command)]
      self.all.append(
        subprocess.Popen(words, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)
      )

  def wait(self, timeout=240):
    """[(exit code, stdout, stderr)] by process; whatever is left is killed."""
    try:
      return [(p.returncode, *texts) for p in self.all if (texts := p.communicate(timeout=timeout))]
    finally:
      for process in self.all:
        process.kill()


def begin(workdir, count, devices=1, more=(), each=()):
  """Starts main.py in `count` processes; `each`: flags of their own."""
  words = ["tests/hostrun.py", "--config=tests/hostconfig.py", f"--workdir={workdir}", *more]
  together = ["--coordinator=ADDRESS", f"--processes={count}"] if count > 1 else []
  own = lambda n: [*(["--process=" + str(n)] if count > 1 else []), *(each[n] if each else ())]
  return Processes([[*words, *together, *own(n)] for n in range(count)], devices)


def run(workdir, count, **options):
  out = begin(workdir, count, **options).wait()
  assert [code for code, _, _ in out] == [0] * len(out), out
  return out


def curve(workdir, model):
  lines = (workdir / "models" / model / "metrics.jsonl").read_text().splitlines()
  return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def scores(workdir, model):
  out = json.loads((workdir / "results" / f"{model}.json").read_text())
  return out["efficacy"], out["utility"], out["salmu_jax"]["weights_sha256"]


def params(workdir, model):
  folder, here = (
    workdir / "models" / model / "params",
    jax.sharding.SingleDeviceSharding(jax.devices()[0]),
  )
  with ocp.StandardCheckpointer() as checkpointer:
    found = checkpointer.metadata(folder).item_metadata.tree
    like = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)
    return checkpointer.restore(folder, jax.tree.map(like, found))


def assert_same_run(workdir, other, models=MODELS, atol=2e-4):
  for model in models:
    for row, expected in zip(curve(workdir, model), curve(other, model), strict=True):
      assert row == pytest.approx(expected, rel=1e-3, abs=1e-3)
    leaves = jax.tree.leaves(params(workdir, model)), jax.tree.leaves(params(other, model))
    for a, b in zip(*leaves, strict=True):
      np.testing.assert_allclose(a, b, atol=atol)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("alone")
  run(workdir, 1, devices=4)
  return workdir


@pytest.fixture(scope="module")
def two(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("two")
  return workdir, run(workdir, 2, devices=2)


def test_two_processes_of_two_devices_run_as_one_of_four(alone, two):
  assert_same_run(two[0], alone)


def test_four_processes_of_split_parameters_unlearn_as_two_of_whole_ones(two, tmp_path):
  rules = r"(('(kernel|/embedding)$', ('data',)), ('.*', ()))"
  run(tmp_path, 4, more=[*from_models_of(two[0]), f"--config.sharding={rules}"])
  assert_same_run(tmp_path, two[0], MODELS[2:])
  for model in MODELS[:2]:  # the same weights, read and judged in other parts
    found, expected = (jax.tree.leaves(scores(w, model)[:2]) for w in (tmp_path, two[0]))
    assert len(found) > 10 and found == pytest.approx(expected, abs=1e-5)


def test_only_the_first_process_talks_and_all_end_well(two):
  (_, out, err), (_, other_out, other_err) = two[1]
  assert "finetune" in out and "Done in" in err
  talk = [line for line in (other_out + other_err).splitlines() if not line.startswith("[Gloo]")]
  assert not talk


def test_a_finished_run_of_several_processes_is_left_alone(two):
  files = lambda: {p: p.stat().st_mtime_ns for p in two[0].rglob("*") if p.is_file()}
  before = files()
  out = run(two[0], 2, devices=2)
  assert "Nothing to do" in out[0][2] and files() == before


def from_models_of(workdir):
  """Flags for a run that has only to unlearn: release and models are those of another."""
  models = [f"--config.init.{name}={workdir}/models/{name}" for name in MODELS[:2]]
  return [f"--config.release={workdir}/release", *models]


def started_unlearning(workdir, rows=2, seconds=120):
  """Returns once so many log lines are there."""
  log = workdir / "models" / "finetune" / "metrics.jsonl"
  for _ in range(seconds * 50):
    if log.exists() and len(log.read_text().splitlines()) >= rows:
      return
    time.sleep(0.02)
  raise AssertionError(f"{log} did not come")


def assert_same_bits(workdir, other):
  assert scores(workdir, "finetune") == scores(other, "finetune")
  assert curve(workdir, "finetune") == curve(other, "finetune")


@pytest.mark.parametrize("killed", [0, 1])
def test_where_one_process_dies_the_other_ends_in_time_and_a_restart_goes_on(killed, two, tmp_path):
  more = from_models_of(two[0])
  both = begin(tmp_path, 2, devices=2, more=more)
  started_unlearning(tmp_path, rows=5)
  both.all[killed].send_signal(signal.SIGKILL)
  began = time.monotonic()
  out = both.wait(timeout=120)
  assert time.monotonic() - began < 100
  code, _, err = out[1 - killed]
  # Where the network does not report the loss, JAX misses the heartbeat and ends the process
  # itself.
  assert code not in (0, None) and ("Lost another process" in err or "another task died" in err)
  if killed == 0:  # the same for both; once is enough
    run(tmp_path, 2, devices=2, more=more)
    assert_same_bits(tmp_path, two[0])


def test_sigterm_to_one_of_two_saves_ends_both_well_and_the_restart_has_the_same_bits(
  two, tmp_path
):
  more = from_models_of(two[0])
  both = begin(tmp_path, 2, devices=2, more=more)
  started_unlearning(tmp_path)
  both.all[1].send_signal(signal.SIGTERM)
  out = both.wait()
  assert [code for code, _, _ in out] == [0, 0]
  assert "Stopped after" in out[0][2] and not (tmp_path / "results" / "finetune.json").exists()
  run(tmp_path, 2, devices=2, more=more)
  assert_same_bits(tmp_path, two[0])


def test_a_lone_process_stops_at_sigterm_and_goes_on_with_the_same_bits(alone, tmp_path):
  more = from_models_of(alone)
  one = begin(tmp_path, 1, devices=4, more=more)
  started_unlearning(tmp_path)
  one.all[0].send_signal(signal.SIGTERM)
  ((code, _, err),) = one.wait()
  assert code == 0 and "Stopped after" in err and "goes on from there" in err
  run(tmp_path, 1, devices=4, more=more)
  assert_same_bits(tmp_path, alone)


def test_weights_that_one_process_brings_in_are_read_by_all_split(tmp_path):
  commands = [["tests/hostimport.py", str(tmp_path), "ADDRESS", "2", str(n)] for n in range(2)]
  for number, (code, out, err) in enumerate(Processes(commands, devices=2).wait()):
    assert code == 0 and f"read by {number}" in out, err


def test_methods_that_measure_find_the_same_on_parameters_split_over_two_processes():
  commands = [["tests/hostmethods.py", "ADDRESS", "2", str(n)] for n in range(2)]
  for number, (code, out, err) in enumerate(Processes(commands, devices=2).wait()):
    assert code == 0 and f"same in {number}" in out, err


def test_processes_with_different_configs_are_refused(tmp_path):
  each = [(), ("--config.seed=1",)]
  out = begin(tmp_path, 2, each=each).wait()
  for code, _, _err in out:
    assert code != 0
  assert "Process 1 has another config or workdir than process 0" in out[0][2]


def test_a_process_that_counts_otherwise_is_refused(tmp_path):
  both = begin(tmp_path, 2, each=[(), ("--processes=3",)])
  _, err = both.all[1].communicate(timeout=120)
  both.all[0].kill()
  both.all[0].communicate()
  assert both.all[1].returncode != 0
  assert "started with --processes=3, and the first with 2" in err


def test_a_first_process_that_does_not_come_is_missed():
  with pytest.raises(InputError, match=r"Nobody listens at --coordinator=127\.0\.0\.1:1 after 1 s"):
    hosts.start("127.0.0.1:1", 2, 1, timeout=1)


@pytest.mark.parametrize(
  "flags, message",
  [
    (("", 2, None), "go with --coordinator"),
    (("somewhere", 2, 0), "not HOST:PORT"),
    (("auto", 2, 0), "leave out the other two"),
    (("127.0.0.1:5000", 2, 2), "--processes=2 and --process=2"),
    (("127.0.0.1:5000", None, 0), "needs --processes"),
  ],
)
def test_flags_that_do_not_go_together_are_refused(flags, message):
  with pytest.raises(InputError, match=message):
    hosts.start(*flags)
