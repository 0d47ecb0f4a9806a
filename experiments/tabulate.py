"""Writes the tables of the READMEs, each from the JSON that its study kept: python -m
experiments.tabulate
"""

import pathlib

from configs import mini as mini_config
from experiments.anchored import tabulate as anchored
from experiments.baselines import tabulate as baselines
from experiments.embed_speed import measure as embed_speed
from experiments.mini import tabulate as mini
from experiments.parity import measure as parity
from experiments.pretraining import study as pretraining
from experiments.published import readings
from experiments.scaling import measure as scaling
from experiments.speed import evaluation, inputs, loss, step
from salmu_jax.report import published_table
from salmu_jax.runtime import files

HERE = pathlib.Path(__file__).parent
MINI = HERE / "mini" / "results"
# File -> {name between `<!-- name: begin -->` and `<!-- name: end -->`: what makes the text there}.
SECTIONS = {
  HERE.parent / "README.md": {
    "mini": mini.section,
    "anchored": anchored.frontier,
    "baselines": baselines.tuned,
    "parity": parity.section,
    "embed_speed": embed_speed.section,
    "readings": readings.section,
    "scaling": scaling.section,
    "published": published_table.published_markdown,
  },
  HERE / "anchored" / "README.md": {
    "frontier": anchored.frontier,
    "by_seed": anchored.by_seed,
    "strongest": anchored.baselines,
    "ablations": anchored.ablations,
    "reworded": anchored.reworded,
    "asked": anchored.questions,
    "relearned": anchored.relearned,
    "pair": anchored.pair,
  },
  HERE / "baselines" / "README.md": {
    "cost": baselines.cost,
    "picture": baselines.picture,
    "tuned": baselines.tuned,
    "untuned": baselines.untuned,
    "budgets": baselines.budgets,
  },
  HERE / "embed_speed" / "README.md": {"embed_speed": embed_speed.section},
  HERE / "pretraining" / "README.md": {"pretraining": pretraining.section},
  HERE / "speed" / "README.md": {
    "step": step.section,
    "evaluation": evaluation.section,
    "inputs": inputs.section,
    "loss": loss.section,
  },
}
# Studies whose runs start from models that mini's recipe pretrains.
STARTED = (mini.__name__, anchored.__name__, baselines.__name__)


def earlier(make):
  """A line for the table of a study that was run before mini's recipe of pretraining changed."""
  now = mini_config.get_config().pretrain.to_dict()
  settings = files.read_json(MINI / "compromised.json")["salmu_jax"]["settings"]
  kept = {field: settings[field] for field in now}
  if make.__module__ not in STARTED or kept == now:
    return ""
  then, now = (
    f"{r['optimizer']['name']} at {r['optimizer']['learning_rate']:g}, {r['epochs']:g} epochs of "
    f"batches of {r['batch_size']}"
    for r in (kept, now)
  )
  return f"*As of an earlier version: models were pretrained by {then}; mini has {now} now.*\n\n"


def filled(path):
  """The text of a file of SECTIONS with every section made anew."""
  text = path.read_text()
  for name, make in SECTIONS[path].items():
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    text = before + begin + earlier(make) + make() + end + after
  return text


if __name__ == "__main__":
  for file in SECTIONS:
    files.write_text(file, filled(file))
