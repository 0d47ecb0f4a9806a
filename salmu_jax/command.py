"""The command that runs the benchmark: main.py in a checkout, `salmu` where it is installed."""

import errno
import sys

from absl import app, flags, logging

from salmu_jax import config_flag
from salmu_jax.errors import InputError, Stopped
from salmu_jax.runtime import ends, pipes

WORKDIR = flags.DEFINE_string("workdir", None, "Directory for everything that is written.")
CONFIG = config_flag.define(
  "A file of configs/, or your own; append :NAME,NAME to run only these methods."
)

PROFILE = flags.DEFINE_string(
  "profile",
  "",
  "FROM:TO, training steps to trace in every stage, into WORKDIR/models/NAME/profile.",
)
COORDINATOR = flags.DEFINE_string(
  "coordinator",
  "",
  "For a run of several processes: HOST:PORT of the first process, or 'auto' where TPU, Slurm, MPI "
  "or Kubernetes tell it, as on a TPU slice. Every process gets the same command, with its own "
  "--process.",
)
PROCESSES = flags.DEFINE_integer("processes", None, "The number of processes; with --coordinator.")
PROCESS = flags.DEFINE_integer(
  "process", None, "The number of this process, from 0; with --coordinator."
)


def main(argv: list[str]) -> None:
  """Runs the benchmark as the flags say."""
  if len(argv) > 1:
    raise app.UsageError(f"Unknown argument {argv[1]!r}; options are written --name=value.")
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
  _check_interpreter()
  # Imported late, so that --help is quick and worker processes do not load what they do not need.
  from salmu_jax.benchmark import run
  from salmu_jax.runtime import hosts, progress, sharding, tracing

  profile = tracing.steps(PROFILE.value)
  hosts.start(COORDINATOR.value, PROCESSES.value, PROCESS.value)
  sharding.devices_of_all()  # refuses a machine without any
  progress.console.quiet = not hosts.is_first()
  run.run(CONFIG.value, WORKDIR.value, hosts.Stop(), profile)


def start() -> None:
  """Runs `main`, and ends as `pipes.ending_quietly` says."""
  with pipes.ending_quietly():
    _start()


def _check_interpreter() -> None:
  """Raises InputError for -OO, which takes away docstrings that altair is built from."""
  if sys.flags.optimize > 1:
    raise InputError(
      "Python runs with -OO or PYTHONOPTIMIZE=2, without docstrings, and altair, which draws the "
      "page, is built from them. Leave it out, or take -O."
    )


def _start() -> None:
  """Runs `main`; an error that the user can mend is printed as a paragraph, without a traceback."""
  for flag in flags.FLAGS.flags_by_module_dict()[__name__]:
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)  # which --help shows
  flags.mark_flags_as_required(["config", "workdir"])
  try:
    app.run(main, flags_parser=config_flag.parse)
  except Stopped as stop:
    print(f"\nStopped {stop}, as asked. The same command goes on from there.", file=sys.stderr)
    sys.exit(ends.status())
  except Exception as error:
    message = explained(error)
    if message is None:
      raise
    leave(f"\nsalmu_jax cannot go on. {message}")


def explained(error: BaseException) -> str | None:
  """The message for an error that the user or the machine has caused; None for any other."""
  if isinstance(error, InputError):
    return str(error)
  if disk_is_full(error):
    return (
      f"The disk of {WORKDIR.value} is full. What was finished before is unchanged. Free some "
      "space and start the same command again."
    )
  if isinstance(error, OSError) and "://" in WORKDIR.value:
    return (
      f"The bucket of {WORKDIR.value} could not be used: {str(error).splitlines()[0]}. What was "
      "finished before is unchanged. Start the same command again."
    )
  hosts = sys.modules.get("salmu_jax.runtime.hosts")
  if hosts and hosts.means_lost_process(error):
    reason = str(error).splitlines()[0]
    return (
      f"Lost another process of this run ({reason}). See what that one says. Start all of them "
      "again: they go on from the last checkpoint."
    )
  return None


def leave(message: str) -> None:
  """Ends the process with an error message; JAX may not be loaded yet."""
  hosts = sys.modules.get("salmu_jax.runtime.hosts")
  if hosts:
    hosts.exit_with_error(message)
  print(message, file=sys.stderr)
  sys.exit(1)


def disk_is_full(error: BaseException) -> bool:
  """Whether a full disk caused an error; libraries wrap it in errors of their own."""
  return any(
    getattr(cause, "errno", None) == errno.ENOSPC or "No space left on device" in str(cause)
    for cause in config_flag.causes(error)
  )
