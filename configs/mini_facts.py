"""Mini on data that hold facts to leak: the second edition, for which no method is tuned yet.

48 people, six of whom share a name each, and captions composed of parts, half of them without the
name. So Compromised knows facts, and not only people: see experiments/editions.

python main.py --config=configs/mini_facts.py --workdir=runs/mini_facts
"""

from configs import mini


def get_config(names=""):
  config = mini.get_config(names)
  config.generate.update(
    people=40,
    images_per_person=112,
    scenes=6500,
    wordings="composed",
    nameless=0.5,
    namesakes=5,
  )
  config.model.preset = "small"
  for run in config.unlearn.values():
    run.update(budget=3.0, tuning="own")
  return config
