"""main.py with towers of one layer, so that several processes start in seconds on two cores."""

import os
import pathlib
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import main
from salmu_jax.models import presets
from salmu_jax.models.clip import Sizes, Tower

presets.PRESETS["tiny"] = Sizes(
  16, 32, 16, Tower(16, 1, 2), Tower(16, 1, 2), context_length=40, vocab_size=0
)
main.start()
