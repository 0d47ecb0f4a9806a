"""Several processes as one run: their start, what the first does for all, and a stop at a signal.

Every process runs the same program; they see the same workdir. The first alone writes files, and
all take part in steps, checkpoints and evaluation.
"""

import contextlib
import functools
import itertools
import os
import signal
import socket
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from salmu_jax.errors import InputError, Stopped
from salmu_jax.runtime import sharding

# Seconds until the others notice that a process is gone, and until an orderly end is given up.
_HEARTBEAT, _SHUTDOWN = 30, 30
_WEEK = 7 * 24 * 3600
_number = itertools.count()  # of waits; all processes wait in the same order


def start(coordinator, processes, process, *, timeout=300):
  """Joins this process with the others; to be called before anything of JAX is computed.

  Args:
    coordinator: "HOST:PORT" of the first process, or "auto" where TPU, Slurm, MPI or Kubernetes
      tell.
      Empty: this process is alone.
    processes, process: how many there are, and which of them this is, from 0; None with "auto".
    timeout: seconds to wait for the others.

  Raises:
    InputError: the three do not go together, or not all have come within the timeout.
  """
  if not coordinator:
    if processes is not None or process is not None:
      raise InputError(
        "--processes and --process go with --coordinator=HOST:PORT, which is not given."
      )
    return
  asked = {"initialization_timeout": timeout, "heartbeat_timeout_seconds": _HEARTBEAT}
  asked["shutdown_timeout_seconds"] = _SHUTDOWN
  if coordinator == "auto" and (processes is not None or process is not None):
    raise InputError(
      "--coordinator=auto finds out how many processes there are; leave out the other two."
    )
  if coordinator != "auto":
    _check_address(coordinator, processes, process)
    if process > 0:
      _await_first(coordinator, timeout)
    asked |= {
      "coordinator_address": coordinator,
      "num_processes": processes,
      "process_id": process,
      "cluster_detection_method": "deactivate",
    }
  try:
    jax.distributed.initialize(**asked)
  except (RuntimeError, ValueError) as error:
    raise InputError(
      f"This process could not join the others at --coordinator={coordinator}: {_brief(error)}. "
      "Start every process with the same --coordinator and --processes, and each with its own "
      "--process."
    ) from error
  if processes not in (None, jax.process_count()):
    raise InputError(
      f"This process was started with --processes={processes}, and the first with "
      f"{jax.process_count()}. Start all of them with the same number."
    )


def _check_address(coordinator, processes, process):
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdigit():
    raise InputError(f"--coordinator={coordinator} is not HOST:PORT or 'auto'.")
  if processes is None or process is None or not 0 <= process < processes:
    raise InputError(
      f"--coordinator={coordinator} needs --processes, their number, and --process, which of them "
      f"this is, from 0; found --processes={processes} and --process={process}."
    )


def _await_first(coordinator, timeout):
  """Returns once the first process listens: JAX's client would end this process without a word
  of ours.
  """
  host, _, port = coordinator.rpartition(":")
  until = time.monotonic() + timeout
  while True:
    try:
      socket.create_connection((host, int(port)), timeout=5).close()
      return
    except OSError as error:
      if time.monotonic() > until:
        raise InputError(
          f"Nobody listens at --coordinator={coordinator} after {timeout} s ({error}). Start the "
          "first process (--process=0) there, and see that the others can reach that port."
        ) from error
    time.sleep(0.5)


def _brief(error):
  return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def check_same(what, value):
  """Raises InputError unless all processes have the same `value` (a string), as of their config."""
  if jax.process_count() == 1:
    return
  own = np.frombuffer(value.encode().ljust(64)[:64], np.uint8)
  everyone = multihost_utils.process_allgather(own)
  differ = [p for p, row in enumerate(everyone) if (row != everyone[0]).any()]
  if differ:
    raise InputError(
      f"Process {differ[0]} has another {what} than process 0. Start all processes with the same "
      "command but for --process, and the same version of the code."
    )


def is_first():
  """Whether this is the process that writes files and talks."""
  return jax.process_index() == 0


def first_alone(work):
  """Runs `work()` in the first process while the others wait.

  Raises:
    InputError: it failed; the first process gets its own error, the others are told to look there.
  """
  if jax.process_count() == 1:
    work()
    return
  try:
    if is_first():
      work()
  except BaseException:
    _wait_for_all()
    agreed(False)
    raise
  _wait_for_all()
  if not agreed(True):
    raise InputError("Process 0 has failed; its own message says why.")


def first_then_all(work):
  """Runs `work()` in the first process, then in the others, who find done what it does once.

  Returns:
    What it returned in this process.
  """
  done = []
  first_alone(lambda: done.append(work()))
  return done[0] if done else work()


def _wait_for_all():
  """Waits, for as long as it takes: a collective of the devices would give up after half a
  minute.
  """
  everyone = set(range(jax.process_count()))
  ocp.multihost.sync_global_processes(
    f"salmu_jax {next(_number)}", processes=everyone, timeout=_WEEK
  )


def agreed(flag):
  """The first process's flag, in all of them, before any goes on."""
  return bool(multihost_utils.broadcast_one_to_all(np.int32(flag)))


def on_host(tree):
  """Numpy copies of arrays; those that are spread over processes come whole to each."""

  def fetch(leaf):
    spread = isinstance(leaf, jax.Array) and not (
      leaf.is_fully_addressable or leaf.is_fully_replicated
    )
    return multihost_utils.process_allgather(leaf, tiled=True) if spread else jax.device_get(leaf)

  return jax.tree.map(fetch, tree)


def lost_another(error):
  """Whether an error says that another process of this run is gone."""
  signs = ("Gloo", "heartbeat", "coordination service", "Connection reset", "Socket closed")
  return jax.process_count() > 1 and any(sign in str(error) for sign in signs)


def leave(message):
  """Ends this process with an error; one of several without waiting for the others, who may
  hang.
  """
  if jax.process_count() == 1:
    sys.exit(message)
  print(message, file=sys.stderr, flush=True)
  sys.stdout.flush()
  os._exit(1)


class Stop:
  """Whether the run has been asked to end, by SIGTERM, as clouds send it before they take a
  machine.

  A lone process is stopped at once, but for steps, between which it asks. Several have to stop
  after the same step: each tells the others with every step whether it was asked, and reads a step
  later what they said, so that no device waits.
  """

  def __init__(self):
    self._asked = self._in_steps = False
    self._said = None
    self._alone = jax.process_count() == 1
    # Of JAX's own preemption service there is one for all steps of a program, and Orbax counts
    # there too.
    signal.signal(signal.SIGTERM, self._on_signal)

  def _on_signal(self, number, frame):
    del number, frame
    self._asked = True
    if self._alone and not self._in_steps:
      raise Stopped("between two stages")

  @contextlib.contextmanager
  def between_steps(self):
    """Within the block, a signal is only noted; yields asked() -> bool, to be called after every
    step.

    Raises:
      Stopped: when the block ends, if a signal has come too late for it.
    """
    self._in_steps, self._said = True, None
    try:
      yield self._reached
    finally:
      self._in_steps = False
    if self._asked if self._alone else agreed_by_any(self._asked):
      raise Stopped("after the last step, which is saved")

  def _reached(self):
    if self._alone:
      return self._asked
    before, self._said = self._said, _say(self._asked)
    return before is not None and bool(before)


def agreed_by_any(flag):
  """Whether the flag of any process is true, in all of them."""
  return bool(_say(flag))


def _say(flag):
  """Sends this process's flag to all; the answer, whether any is true, is a () array on its way."""
  own = np.full(jax.local_device_count(), flag, np.int32)
  return _any(sharding.put_batch(own, _all_devices()))


@functools.cache
def _all_devices():
  """Made once: steps ask for it."""
  return sharding.make_mesh()


@jax.jit
def _any(flags):
  return jnp.max(flags)
