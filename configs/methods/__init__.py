"""Settings of each unlearning method: `mini()`, tuned on the mini benchmark, and `vit_b16()`."""

import importlib
import importlib.util
import pathlib

from ml_collections import ConfigDict

from salmu_jax.errors import InputError
from salmu_jax.names import unknown

BASELINES = (
  "finetune",
  "negative_gradient",
  "generic_captions",
  "direct_similarity",
  "vlunlearn",
)


def runs(names, size):
  """The runs of a config: for each name, what configs/methods/<name>.py says for `size`.

  Args:
    names: comma-separated, or empty for all baselines.
    size: the function to call in each file, "mini" or "vit_b16".
  """
  chosen = names.split(",") if names else BASELINES
  for name in chosen:
    if importlib.util.find_spec(f"configs.methods.{name}") is None:
      known = sorted(path.stem for path in pathlib.Path(__file__).parent.glob("[!_]*.py"))
      raise InputError(unknown("configs/methods", name, known))
  modules = {name: importlib.import_module(f"configs.methods.{name}") for name in chosen}
  return ConfigDict({name: getattr(module, size)() for name, module in modules.items()})
