"""The whole benchmark in small, for a laptop: 160 people, 64 px, a tiny CLIP.

python main.py --config=configs/mini.py --workdir=runs/mini
python main.py --config=configs/mini.py:finetune,vlunlearn --workdir=runs/mini   (only these
methods)
"""

from configs import methods
from salmu_jax import defaults


def get_config(names=""):
  config = defaults.get_config()
  config.unlearn = methods.runs(names, "mini")
  return config
