"""Your own pairs, forgotten by your own CLIP; an audit of what leaked before and after.

python main.py --config=configs/own.py:vlunlearn --config.forget=forget.jsonl
--config.retain=retain.jsonl --config.init.compromised=FOLDER --workdir=runs/own

salmu_jax/data/own.py says how pairs are written. FOLDER has weights of OpenCLIP or Hugging Face (or
hub:OWNER/NAME@REVISION); the sizes of the model are read from it.
"""

from configs import methods
from salmu_jax import defaults


def get_config(names="vlunlearn"):
  config = defaults.get_config()
  config.model.preset = ""  # that of the weights
  # Settings for the released ViT-B/16. Tune the learning rate for your model.
  config.unlearn = methods.runs(names or "vlunlearn", "vit_b16")
  for run in config.unlearn.values():
    run.update(batch_size=16, tuning="own")
  config.attacks.relearning.update(batch_size=8)
  return config
