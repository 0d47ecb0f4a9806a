"""Compiles the steps of a config for a TPU slice, without a TPU, and reports what they take.

python -m salmu_jax.aot --config=configs/vit_b16.py --topology=v5e:4x4

JAX_OPTIMIZATION_LEVEL=O0 compiles ten times as fast, and may report slightly too little memory.
"""

import sys

from absl import app, flags

from salmu_jax import config_flag
from salmu_jax.errors import InputError
from salmu_jax.runtime import pipes, progress

CONFIG = config_flag.define("A file of configs/, as for main.py.")
TOPOLOGY = flags.DEFINE_string(
  "topology",
  "v5e:2x4",
  "KIND:SHAPE of a slice, such as v4:2x2x1; an unknown KIND lists the known ones.",
)
FIT = flags.DEFINE_bool("fit", True, "Also find the largest batch, with a few more compilations.")


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"Unknown argument {argv[1]!r}; options are written --name=value.")
  # Imported late: by now the variables that JAX reads are checked.
  import jax

  from salmu_jax.aot import slices
  from salmu_jax.benchmark import configuration

  jax.config.update("jax_platforms", "cpu")
  mesh = slices.describe(TOPOLOGY.value)
  configuration.check(CONFIG.value, mesh)
  config = configuration.chosen(CONFIG.value)
  progress.terminal().print(slices.table(TOPOLOGY.value, config, mesh, FIT.value))


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  with pipes.ending_quietly():
    try:
      app.run(main, flags_parser=config_flag.parse)
    except InputError as error:
      sys.exit(f"\nsalmu_jax cannot go on. {error}")
