"""The whole benchmark in a few minutes, most of them compilation the first time.

It checks that everything runs; its scores say nothing about methods.

python main.py --config=configs/smoke.py --workdir=runs/smoke
"""

from configs import methods
from salmu_jax import defaults


def get_config(names=""):
  config = defaults.get_config()
  config.generate.update(
    people=24,
    images_per_person=8,
    wordings="composed",
    nameless=0.3,
    namesakes=2,
    retain_synth=60,
    retain_joint=10,
    scenes=400,
    classes=20,
    zero_shot_images=5,
    shard_rows=100,
    workers=1,
  )
  config.pretrain.update(epochs=6.0, batch_size=64, log_every=5, checkpoint_every=20)
  config.evaluate.update(batch_size=64, facts=16, rivals=8)
  config.attacks.relearning.update(shares=(0.1,), steps=(5,), batch_size=8)
  config.attacks.rephrasing.rows, config.attacks.gallery.people = 40, 8
  config.unlearn = methods.runs(names, "mini")
  for run in config.unlearn.values():
    # These settings were tuned for other data and, except for one method, other batch sizes.
    run.update(batch_size=16, log_every=5, checkpoint_every=20, tuning="own")
  return config
