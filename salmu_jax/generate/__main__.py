"""python -m salmu_jax.generate --config=FILE --output=DIR makes a release with Apache Beam."""

import importlib.util
import sys
from collections.abc import Sequence

from absl import app, flags

from salmu_jax import config_flag
from salmu_jax.errors import InputError
from salmu_jax.runtime import pipes

CONFIG = config_flag.define("A file of configs/, as for main.py.")
OUTPUT = flags.DEFINE_string(
  "output", None, "Directory to make; name it in config.release afterwards."
)
BEAM = flags.DEFINE_multi_string("beam", [], "Options for Beam: --beam=--runner=FlinkRunner ...")


def main(argv: Sequence[str]) -> None:
  """Makes the release of config.generate and prints how many rows each split has."""
  if len(argv) > 1:
    raise app.UsageError(f"Unknown argument {argv[1]!r}; options are written --name=value.")
  if importlib.util.find_spec("apache_beam") is None:
    raise InputError("Apache Beam is not installed: pip install -r requirements-beam.txt.")
  from salmu_jax.generate import beam

  output, config = OUTPUT.value, CONFIG.value
  counts = beam.generate(config.generate, config.seed, output, BEAM.value)["counts"]
  print(f"{output}: " + ", ".join(f"{split} {rows:,}" for split, rows in sorted(counts.items())))


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "output"])
  with pipes.ending_quietly():
    try:
      app.run(main, flags_parser=config_flag.parse)
    except InputError as error:
      sys.exit(f"\nsalmu_jax cannot go on. {error}")
