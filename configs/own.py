"""Unlearns your own pairs from your own CLIP, and audits what leaks before and after.

python main.py --config=configs/own.py:vlunlearn --config.forget=forget.jsonl
--config.retain=retain.jsonl --config.init.compromised=FOLDER --workdir=runs/own

salmu_jax/data/own.py describes the format of the pairs. FOLDER holds OpenCLIP or Hugging Face
weights (hub:OWNER/NAME@REVISION works too); the model's sizes are read from them.
"""

from configs import methods
from salmu_jax import defaults


def get_config(names="vlunlearn"):
  config = defaults.get_config()
  config.model.preset = ""  # taken from the weights
  # Settings for the released ViT-B/16. Tune the learning rate for your model.
  config.unlearn = methods.runs(names or "vlunlearn", "vit_b16")
  for run in config.unlearn.values():
    run.update(batch_size=16, tuning="own")
  config.attacks.relearning.update(batch_size=8)
  return config
