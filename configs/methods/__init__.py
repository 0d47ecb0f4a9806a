"""Settings of each unlearning method: `mini()` and `vit_b16()`.

Settings of `mini()` marked "tuned" were tuned on the mini benchmark (experiments/baselines).
"""

import importlib
import pathlib

from ml_collections import ConfigDict

from salmu_jax.errors import InputError, unknown

# The published methods, in the order of the paper's table; CLIPErase and DELETE are the variants
# that end where the published runs do. Other methods run only if they are named.
BASELINES = (
  "cliperase_zero",
  "delete_zero",
  "vlunlearn",
  "finetune",
  "negative_gradient",
  "shuffled_captions",
  "direct_similarity",
  "generic_captions",
)
EVERY = "all"


def runs(names, size):
  """The unlearning runs of a config: for each name, the run that configs/methods/<name>.py returns.

  Args:
    names: comma-separated; empty for BASELINES, "all" for every file here.
    size: the function to call in each file, "mini" or "vit_b16".
  """
  methods = sorted(path.stem for path in pathlib.Path(__file__).parent.glob("[!_]*.py"))
  chosen = methods if names == EVERY else names.split(",") if names else BASELINES
  for name in chosen:
    if name not in methods:
      raise InputError(unknown("configs/methods", name, methods))
  modules = {name: importlib.import_module(f"configs.methods.{name}") for name in chosen}
  return ConfigDict({name: getattr(module, size)() for name, module in modules.items()})
