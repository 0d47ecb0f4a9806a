"""ViT-B/16 from scratch, on a TPU slice or a GPU node: data is generated or given, and both models
are trained.

python main.py --config=configs/vit_b16_scratch.py --workdir=runs/vit_b16_scratch
"""

from configs import methods, vit_b16
from salmu_jax import defaults


def get_config(names=""):
  config = defaults.get_config()
  config.generate.update(
    people=774,
    images_per_person=78,
    retain_synth=16741,
    retain_joint=749,
    scenes=100000,
    classes=489,
    image_size=256,
    workers=16,
  )
  config.model.update(preset="vit_b16", compute_dtype="bfloat16", remat="blocks", scan=True)
  config.pretrain.update(
    epochs=32.0,
    batch_size=4096,
    crop_area=0.9,
    flip=0.0,
    checkpoint_every=1000,
    optimizer=defaults.optimizer(5e-4, warmup=0.05, weight_decay=0.2),
  )
  vit_b16.on_accelerators(config)
  config.unlearn = methods.runs(names, "vit_b16")
  return config
