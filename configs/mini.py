"""The whole benchmark at laptop scale: 40 people, 64 px, a tiny CLIP.

Runs the eight published methods and this project's own. Captions are composed of parts, half of
them without the name, and five people share each name, so Compromised learns facts and not only
people (experiments/editions).

python main.py --config=configs/mini.py --workdir=runs/mini
python main.py --config=configs/mini.py:finetune,vlunlearn --workdir=runs/mini   (only these
methods)
"""

from configs import methods
from salmu_jax import defaults

BUDGET = 2.0  # passes over forget, for every method that trains


def get_config(names=""):
  config = defaults.get_config()
  config.generate.update(
    people=40,
    images_per_person=112,
    scenes=6500,
    wordings="composed",
    nameless=0.5,
    namesakes=5,
  )
  config.model.preset = "mini"
  # The fastest recipe in experiments/pretraining, with two more epochs.
  config.pretrain.update(
    epochs=10.0,
    batch_size=256,
    checkpoint_every=100,
    optimizer=defaults.optimizer(4e-3, name="muon", warmup=0.05, weight_decay=0.1),
  )
  # Each row asks many texts, which is a lot for so small a release.
  config.attacks.rephrasing.rows = 100
  config.unlearn = methods.runs(names or ",".join([*methods.BASELINES, "anchored"]), "mini")
  for run in config.unlearn.values():
    run.budget = min(run.budget, BUDGET)
  return config
