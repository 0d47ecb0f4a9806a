"""The first edition of mini: 160 people with few pictures each, templates, names in all captions.

Its Compromised knows people but hardly any facts. It is kept for one release, so that earlier
numbers can be reproduced. The methods that mini runs use the settings tuned on this edition.

python main.py --config=configs/mini_first.py --workdir=runs/mini_first
"""

from configs import mini
from salmu_jax import defaults

# Learning rate of each method.
RATES = {
  "cliperase_zero": 1e-3,
  "delete_zero": 1e-3,
  "vlunlearn": 1e-3,
  "finetune": 3e-3,
  "negative_gradient": 1e-5,
  "shuffled_captions": 1e-5,
  "direct_similarity": 1e-5,
  "generic_captions": 3e-4,
}


def get_config(names=""):
  config = mini.get_config(names)
  config.generate = defaults.get_config().generate
  config.model.preset, config.pretrain.epochs = "tiny", 8.0
  config.evaluate.facts = 100
  for name, run in config.unlearn.items():
    run.tuning = "own"
    if name in RATES:
      run.update(batch_size=64, budget=5.0)
      run.optimizer.learning_rate = RATES[name]
  if "anchored" in config.unlearn:
    config.unlearn.anchored.budget = 20.0
  if "cliperase_zero" in config.unlearn:
    config.unlearn.cliperase_zero.args.retain = 10.0
  return config
