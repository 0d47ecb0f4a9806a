"""Runs of main.py in one or several processes over loopback, and what they leave."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from quick_compile import FLAGS

from salmu_jax.train import PACE

ROOT = pathlib.Path(__file__).parent.parent
MODELS = ("clean", "compromised", "finetune")
# Attacks take a third of a run's time, and one run of several processes has them.
QUIET = ("--config.attacks.names=()",)


def free_port():
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    return listener.getsockname()[1]


class Processes:
  """One process for each command.

  Args:
    commands: words after `python`; ADDRESS stands for the coordinator's address.
    devices: of each process.
    environments: of each process, what it has beside that of this one.
  """

  def __init__(self, commands, devices, environments=()):
    address, pipe, self.started = f"127.0.0.1:{free_port()}", subprocess.PIPE, []
    environment = {
      **os.environ,
      "JAX_COORDINATOR_BIND_ADDRESS": address,
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {FLAGS}",
    }
    for command, own in zip(commands, environments or [{}] * len(commands), strict=True):
      words, env = [word.replace("ADDRESS", address) for word in command], environment | own
      self.started.append(
        subprocess.Popen(
          [sys.executable, *words], cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True
        )
      )

  def wait(self, timeout=240):
    """[(exit code, stdout, stderr)] by process; a process that does not end is killed."""
    try:
      return [
        (process.returncode, *texts)
        for process in self.started
        if (texts := process.communicate(timeout=timeout))
      ]
    finally:
      for process in self.started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def begin(workdir, count, devices=1, flags=(), own_flags=(), environments=()):
  """Starts main.py in `count` processes, with flags for all and, by number, flags and environments
  of their own.
  """
  words = ["main.py", "--config=tests/hostconfig.py", f"--workdir={workdir}", *flags]
  if count > 1:
    words += ["--coordinator=ADDRESS", f"--processes={count}"]
  numbers = [[f"--process={n}"] if count > 1 else [] for n in range(count)]
  own_flags = own_flags or [()] * count
  commands = [[*words, *numbers[n], *own_flags[n]] for n in range(count)]
  return Processes(commands, devices, environments)


def run(workdir, count, **options):
  ended = begin(workdir, count, **options).wait()
  assert [code for code, _, _ in ended] == [0] * len(ended), ended
  return ended


def curve(workdir, model):
  lines = (workdir / "models" / model / "metrics.jsonl").read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if k not in ("seconds", *PACE)} for line in lines
  ]


def scores(workdir, model):
  results = json.loads((workdir / "results" / f"{model}.json").read_text())
  return results["efficacy"], results["utility"], results["salmu_jax"]["weights_sha256"]


def params(workdir, model):
  folder = workdir / "models" / model / "params"
  here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  with ocp.StandardCheckpointer() as checkpointer:
    stored = checkpointer.metadata(folder).item_metadata.tree
    like = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)
    return checkpointer.restore(folder, jax.tree.map(like, stored))


def assert_same_run(workdir, other, models=MODELS, atol=2e-4):
  for model in models:
    for row, expected in zip(curve(workdir, model), curve(other, model), strict=True):
      assert row == pytest.approx(expected, rel=1e-3, abs=1e-3)
    leaves = jax.tree.leaves(params(workdir, model)), jax.tree.leaves(params(other, model))
    for a, b in zip(*leaves, strict=True):
      np.testing.assert_allclose(a, b, atol=atol)
