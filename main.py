"""Runs the benchmark: python main.py --config=configs/mini.py --workdir=runs/mini"""

import errno
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from salmu_jax.errors import InputError

WORKDIR = flags.DEFINE_string("workdir", None, "Directory for everything that is written.")
CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "A file of configs/; append :NAME,NAME to run only these methods.",
  lock_config=True,
)


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f"Unknown argument {argv[1]!r}; options are written --name=value.")
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
  # Imported late, so that --help is quick and worker processes do not load what they do not need.
  from salmu_jax import run

  run.run(CONFIG.value, WORKDIR.value)


def parse(argv):
  """Parses the flags; bad input found by a config file is raised as such, without absl's traceback."""
  try:
    return flags.FLAGS(argv)
  except (flags.Error, InputError) as error:
    mendable = [cause for cause in causes(error) if isinstance(cause, InputError)]
    if mendable:
      # The innermost one: those around it carry a traceback in their text.
      raise mendable[-1] from None
    return app.parse_flags_with_usage(argv)
  except AttributeError as error:
    raise InputError(f"A --config.FIELD=VALUE names no field of the config: {error}") from error


def causes(error):
  """An exception and all that led to it."""
  while error is not None:
    yield error
    error = error.__cause__ or error.__context__


def start():
  """Runs `main`; what the user can mend is said in a paragraph, without a traceback."""
  flags.mark_flags_as_required(["config", "workdir"])
  try:
    app.run(main, flags_parser=parse)
  except InputError as error:
    sys.exit(f"\nsalmu_jax cannot go on. {error}")
  except Exception as error:
    if not disk_is_full(error):
      raise
    sys.exit(
      f"\nsalmu_jax cannot go on. The disk of {WORKDIR.value} is full. What was finished before is "
      "unchanged. Free some space and start the same command again."
    )


def disk_is_full(error):
  """Whether a full disk is behind an error; libraries wrap it in errors of their own."""
  return any(
    getattr(cause, "errno", None) == errno.ENOSPC or "No space left on device" in str(cause)
    for cause in causes(error)
  )


if __name__ == "__main__":
  start()
