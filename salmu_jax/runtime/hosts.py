"""Multi-process runs: joining them, work for the first process only, and stopping at SIGTERM.

Every process runs the same program and sees the same workdir. Only the first writes files; all take
part in steps, checkpoints and evaluation.
"""

import contextlib
import functools
import itertools
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from salmu_jax.errors import InputError, Stopped
from salmu_jax.runtime import ends, sharding

# Seconds until the loss of a process is noticed, and until an orderly shutdown is abandoned.
_HEARTBEAT, _SHUTDOWN = 30, 30
# A name, IPv4 or, in brackets, IPv6.
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,9})")
_WEEK = 7 * 24 * 3600
_barrier = itertools.count()  # numbers barriers; all processes reach them in the same order
T = TypeVar("T")


def start(
  coordinator: str, processes: int | None, process: int | None, *, timeout: int = 300
) -> None:
  """Connects this process with the others of the run; call it before JAX computes anything.

  Args:
    coordinator: "HOST:PORT" of the first process; "auto" to detect it from TPU, Slurm, MPI or
      Kubernetes; "" for a run of one process.
    processes: the number of processes; None with "auto" or "".
    process: the number of this one, from 0; None with "auto" or "".
    timeout: seconds to wait for the others.

  Raises:
    InputError: the three contradict each other, or a process is missing after the timeout.
  """
  if not coordinator:
    if processes is not None or process is not None:
      raise InputError("--processes and --process need --coordinator=HOST:PORT, which is missing.")
    return
  if coordinator == "auto" and (processes is not None or process is not None):
    raise InputError(
      "--coordinator=auto detects the processes itself; leave out --processes and --process."
    )
  address = {}
  if coordinator != "auto":
    _check_address(coordinator, processes, process)
    if process > 0:
      _await_first(coordinator, timeout)
    address = {
      "coordinator_address": coordinator,
      "num_processes": processes,
      "process_id": process,
      "cluster_detection_method": "deactivate",
    }
  _initialize(coordinator, **address, initialization_timeout=timeout)
  if processes not in (None, jax.process_count()):
    raise InputError(
      f"This process was started with --processes={processes}, but the first with "
      f"{jax.process_count()}. Start all of them with the same number."
    )


def _initialize(coordinator, **options):
  try:
    jax.distributed.initialize(
      **options,
      heartbeat_timeout_seconds=_HEARTBEAT,
      shutdown_timeout_seconds=_SHUTDOWN,
    )
  except (RuntimeError, ValueError) as error:
    raise InputError(
      f"This process could not join the others at --coordinator={coordinator}: {_brief(error)}. "
      "Start all processes with the same --coordinator and --processes, each with its own "
      "--process."
    ) from error


def _check_address(coordinator, processes, process):
  address = _ADDRESS.fullmatch(coordinator)
  if not address:
    raise InputError(f"--coordinator={coordinator} is not HOST:PORT or 'auto'.")
  if not 1 <= int(address["port"]) <= 65535:
    raise InputError(
      f"--coordinator={coordinator} names port {address['port']}; ports are from 1 to 65535."
    )
  if processes is None or process is None or not 0 <= process < processes:
    raise InputError(
      f"--coordinator={coordinator} needs --processes, the number of processes, and --process, the "
      f"number of this one, from 0; found --processes={processes} and --process={process}."
    )


def _await_first(coordinator, timeout):
  """Returns once the first process listens; JAX's own client would kill this process instead."""
  host, port = _ADDRESS.fullmatch(coordinator).groups()
  deadline = time.monotonic() + timeout
  while True:
    try:
      socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
      return
    except OSError as error:
      if time.monotonic() > deadline:
        raise InputError(
          f"No process listens at --coordinator={coordinator} after {timeout} s ({error}). Start "
          "the first process (--process=0) there, and make sure that the others can reach that "
          "port."
        ) from error
    time.sleep(0.5)


def _brief(error):
  return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def check_same(label: str, value: str) -> None:
  """Raises InputError unless `value` is the same in all processes.

  Args:
    label: the name of the value in errors, such as "config".
    value: for example a digest; its first 64 bytes are compared.
  """
  if jax.process_count() == 1:
    return
  own = np.frombuffer(value.encode().ljust(64)[:64], np.uint8)
  everyone = multihost_utils.process_allgather(own)
  different = [p for p, row in enumerate(everyone) if (row != everyone[0]).any()]
  if different:
    raise InputError(
      f"Process {different[0]} has another {label} than process 0. Start all processes with the "
      "same version of the code and the same command; only --process differs."
    )


def is_first() -> bool:
  """Whether this is the process that writes files and prints."""
  return jax.process_index() == 0


def first_alone(work: Callable[[], Any]) -> None:
  """Runs `work()` in the first process while the others wait.

  Raises:
    InputError: in the other processes, if the work failed. The first raises the work's own error.
  """
  if jax.process_count() == 1:
    work()
    return
  try:
    if is_first():
      work()
  except BaseException:
    _wait_for_all()
    flag_of_first(False)
    raise
  _wait_for_all()
  if not flag_of_first(True):
    raise InputError("Process 0 has failed; its output says why.")


def first_then_all(work: Callable[[], T]) -> T:
  """Runs `work()` in the first process, then in the others, which can use the files it wrote.

  Returns:
    The value of `work()` in this process.
  """
  results = []
  first_alone(lambda: results.append(work()))
  return results[0] if results else work()


def _wait_for_all():
  """Waits without a limit; a collective of the devices would time out after half a minute."""
  everyone = set(range(jax.process_count()))
  ocp.multihost.sync_global_processes(
    f"salmu_jax {next(_barrier)}", processes=everyone, timeout=_WEEK
  )


def flag_of_first(flag: bool) -> bool:
  """The flag of the first process, in every process."""
  return bool(multihost_utils.broadcast_one_to_all(np.int32(flag)))


def on_host(tree: Any) -> Any:
  """A tree of arrays as numpy; every process gets full copies of sharded arrays."""

  def fetch(leaf):
    split = isinstance(leaf, jax.Array) and not (
      leaf.is_fully_addressable or leaf.is_fully_replicated
    )
    return multihost_utils.process_allgather(leaf, tiled=True) if split else jax.device_get(leaf)

  return jax.tree.map(fetch, tree)


def means_lost_process(error: BaseException) -> bool:
  """Whether an error was caused by the loss of another process of this run."""
  signs = ("Gloo", "heartbeat", "coordination service", "Connection reset", "Socket closed")
  return jax.process_count() > 1 and any(sign in str(error) for sign in signs)


def exit_with_error(message: str) -> NoReturn:
  """Ends this process with an error, without waiting for other processes, which may hang."""
  print(message, file=sys.stderr, flush=True)
  if not jax.distributed.is_initialized():
    sys.exit(1)
  sys.stdout.flush()
  os._exit(1)


class Stop:
  """Stops training at SIGTERM, which clouds send before they preempt a machine, and at SIGHUP.

  A run of one process stops after the current step. Several processes must stop after the same
  step. At every step, each process sends the others whether it got the signal, and reads their
  answer one step later, so that no device waits. Outside of training a signal ends the process, see
  `ends`.
  """

  def __init__(self) -> None:
    self._answer = self._asked = None
    self._alone = jax.process_count() == 1
    # Replaces JAX's preemption service, which handles SIGTERM once processes join: it counts the
    # steps of the whole program, and Orbax uses it too.
    ends.listen()

  @contextlib.contextmanager
  def between_steps(self) -> Iterator[Callable[[], bool]]:
    """Yields due() -> bool, which says after every step whether to stop.

    Within the block the first signal does not raise.

    Raises:
      Stopped: when the block ends, if the signal came after the last call of `due`.
    """
    self._answer = None
    with ends.holding() as self._asked:
      yield self._due
    if self._asked() if self._alone else flag_of_any(self._asked()):
      raise Stopped("after the last step, which is saved")

  def _due(self):
    if self._alone:
      return self._asked()
    previous, self._answer = self._answer, any_of_all(self._asked())
    return previous is not None and bool(previous)


def flag_of_any(flag: bool) -> bool:
  """Whether the flag of any process is true, in every process."""
  return bool(any_of_all(flag))


def any_of_all(flag: bool) -> jax.Array:
  """Whether the flag of any process is true: a () array, computed asynchronously."""
  own = np.full(jax.local_device_count(), flag, np.int32)
  return _any(sharding.put_batch(own, _all_devices()))


@functools.cache
def _all_devices():
  """The mesh, cached because every step needs it."""
  return sharding.make_mesh()


@jax.jit
def _any(flags):
  return jnp.max(flags)
