"""The released experiment on a TPU slice or a GPU node: the published data and models, ViT-B/16.

python main.py --config=configs/vit_b16.py --workdir=runs/vit_b16
python main.py --config=configs/vit_b16.py --config.method.name=vlunlearn --workdir=runs/vit_b16

Downloads data and weights at their pinned revisions, unlearns with the eight published methods, or
the one named, and evaluates. Compromised is published as a PyTorch file, so pip install -r
requirements-torch.txt first. GenKnow needs --config.imagenet=imagefolder:DIR.
"""

from configs import methods
from salmu_jax import defaults
from salmu_jax.results import published


def get_config(names=""):
  config = defaults.get_config()
  config.release = f"hub:{published.DATASET}"
  config.init.update(clean=f"hub:{published.CLEAN}", compromised=f"hub:{published.COMPROMISED}")
  config.model.update(preset="vit_b16", compute_dtype="bfloat16", remat="blocks", scan=True)
  on_accelerators(config)
  config.unlearn = methods.runs(names, "vit_b16")
  return config


def on_accelerators(config):
  """Sets the evaluation and attacks of ViT-B/16: large batches, the whole relearning search."""
  config.evaluate.batch_size = 1024
  config.attacks.relearning.update(
    batch_size=256,
    shares=(0.01, 0.05, 0.1),
    learning_rates=(1e-6, 1e-5, 1e-4),
    weights=("all", "low rank"),
    steps=(5, 10, 20),
  )
  config.reader_threads = 32
