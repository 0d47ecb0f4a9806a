"""The whole benchmark in small, for a laptop: 160 people, 64 px, a tiny CLIP.

Runs the eight published methods and this project's own.

python main.py --config=configs/mini.py --workdir=runs/mini
python main.py --config=configs/mini.py:finetune,vlunlearn --workdir=runs/mini   (only these
methods)
"""

from configs import methods
from salmu_jax import defaults


def get_config(names=""):
  config = defaults.get_config()
  # Of the recipes of experiments/pretraining the fastest that loses nothing.
  config.pretrain.update(
    epochs=8.0,
    batch_size=256,
    checkpoint_every=100,
    optimizer=defaults.optimizer(4e-3, name="muon", warmup=0.05, weight_decay=0.1),
  )
  # Questions are many texts for so small a release.
  config.evaluate.facts, config.attacks.rephrasing.rows = 100, 100
  config.unlearn = methods.runs(names or ",".join([*methods.BASELINES, "anchored"]), "mini")
  return config
