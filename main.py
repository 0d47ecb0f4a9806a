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


def start():
  """Runs `main`; what the user can mend is said in a paragraph, without a traceback."""
  flags.mark_flags_as_required(["config", "workdir"])
  try:
    app.run(main)
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
  while error is not None:
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
      return True
    error = error.__cause__ or error.__context__
  return False


if __name__ == "__main__":
  start()
