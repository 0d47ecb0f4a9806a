"""configs/smoke.py with towers of one layer, whose programs compile in a part of the time."""

from configs import smoke
from salmu_jax.models import presets
from salmu_jax.models.clip import Sizes, Tower

presets.PRESETS["tiny"] = Sizes(
  16, 32, 16, Tower(16, 1, 2), Tower(16, 1, 2), context_length=40, vocab_size=0
)


def get_config(names=""):
  return smoke.get_config(names)
