"""The command that runs the benchmark: main.py in a checkout, `salmu` where it is installed."""

import errno
import sys

from absl import app, flags, logging

from salmu_jax import config_flag
from salmu_jax.errors import InputError, Stopped
from salmu_jax.runtime import ends, pipes

WORKDIR = flags.DEFINE_string("workdir", None, "Directory for all outputs.")
CONFIG = config_flag.define(
  "A config file from configs/, or your own; append :NAME,NAME to run only these methods."
)

PROFILE = flags.DEFINE_string(
  "profile",
  "",
  "FROM:TO, the training steps to profile in every stage; writes WORKDIR/models/NAME/profile.",
)
COORDINATOR = flags.DEFINE_string(
  "coordinator",
  "",
  "For a multi-process run: HOST:PORT of the first process, or 'auto' to detect it from TPU, "
  "Slurm, MPI or Kubernetes, as on a TPU slice. Start every process with the same command and its "
  "own --process.",
)
PROCESSES = flags.DEFINE_integer(
  "processes", None, "Number of processes, with --coordinator=HOST:PORT."
)
PROCESS = flags.DEFINE_integer(
  "process", None, "Number of this process, from 0, with --coordinator=HOST:PORT."
)


def main(argv: list[str]) -> None:
  """Runs the benchmark as the flags say."""
  if len(argv) > 1:
    raise app.UsageError(f"Unknown argument {argv[1]!r}; options are written --name=value.")
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
  _check_interpreter()
  # Imported here, so that --help is quick and worker processes load only what they need.
  from salmu_jax.benchmark import run
  from salmu_jax.runtime import hosts, progress, sharding, tracing

  profile = tracing.steps(PROFILE.value)
  hosts.start(COORDINATOR.value, PROCESSES.value, PROCESS.value)
  sharding.devices_of_all()  # refuses a machine without any
  progress.console.quiet = not hosts.is_first()
  run.run(CONFIG.value, WORKDIR.value, hosts.Stop(), profile)


def start() -> None:
  """Runs `main`; see `pipes.ending_quietly` for how it ends."""
  with pipes.ending_quietly():
    _start()


def _check_interpreter() -> None:
  """Raises InputError for -OO, which strips the docstrings that altair needs."""
  if sys.flags.optimize > 1:
    raise InputError(
      "Python runs with -OO or PYTHONOPTIMIZE=2, which strips docstrings; altair, which draws the "
      "page, needs them. Remove it, or use -O."
    )


def _start() -> None:
  """Runs `main`; prints an error that the user can fix as a paragraph, without a traceback."""
  for flag in flags.FLAGS.flags_by_module_dict()[__name__]:
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)  # so that --help shows it
  flags.mark_flags_as_required(["config", "workdir"])
  try:
    app.run(main, flags_parser=config_flag.parse)
  except Stopped as stop:
    print(f"\nStopped {stop}, as requested. Rerun the same command to resume.", file=sys.stderr)
    sys.exit(ends.status())
  except Exception as error:
    message = explained(error)
    if message is None:
      raise
    leave(f"\nsalmu_jax cannot go on. {message}")


def explained(error: BaseException) -> str | None:
  """The message for an error that the user or the machine caused; None for any other error."""
  if isinstance(error, InputError):
    return str(error)
  if disk_is_full(error):
    return (
      f"The disk of {WORKDIR.value} is full. Finished work is unchanged. Free some space and rerun "
      "the same command."
    )
  if isinstance(error, OSError) and "://" in WORKDIR.value:
    return (
      f"The bucket of {WORKDIR.value} could not be used: {str(error).splitlines()[0]}. Finished "
      "work is unchanged. Rerun the same command."
    )
  hosts = sys.modules.get("salmu_jax.runtime.hosts")
  if hosts and hosts.means_lost_process(error):
    reason = str(error).splitlines()[0]
    return (
      f"Lost another process of this run ({reason}). Read the output of that process, then restart "
      "all processes: they resume from the last checkpoint."
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
  """Whether a full disk caused an error, which libraries may have wrapped in their own."""
  return any(
    getattr(cause, "errno", None) == errno.ENOSPC or "No space left on device" in str(cause)
    for cause in config_flag.causes(error)
  )
