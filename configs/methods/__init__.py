"""Settings of each unlearning method: `mini()`, tuned on the mini benchmark, and `vit_b16()`."""

import importlib

from ml_collections import ConfigDict

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
  modules = {name: importlib.import_module(f"configs.methods.{name}") for name in chosen}
  return ConfigDict({name: getattr(module, size)() for name, module in modules.items()})
