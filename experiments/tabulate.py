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
from salmu_jax.results import metrics_table
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
  HERE / "mini" / "README.md": {"times": mini.times},
  HERE / "pretraining" / "README.md": {"pretraining": pretraining.section},
  HERE / "speed" / "README.md": {
    "step": step.section,
    "evaluation": evaluation.section,
    "inputs": inputs.section,
    "loss": loss.section,
  },
}
# Studies whose runs start from mini's models -> what they kept of their Compromised.
STARTED = {
  anchored.__name__: lambda: _kept("anchored/results/seed-0.json")["scores"],
  baselines.__name__: lambda: _kept("baselines/results/bounds.json"),
}


def earlier(make):
  """A line for the table of a study that mini's recipe of pretraining has changed since."""
  name, told = make.__module__, ""
  if name == mini.__name__:
    kept, now = (_recipe(r) for r in (_of_mini()["salmu_jax"]["settings"], _now()))
    told = f"models were pretrained by {kept}; mini has {now} now" if kept != now else ""
  elif name in STARTED:
    leak = "RetFail_MRR"
    kept = STARTED[name]()[leak]
    now = metrics_table.flatten(_of_mini())[leak]
    same = f"{kept:.3f}" == f"{now:.3f}"
    told = (
      f"it starts from a Compromised with a RetFail MRR of {kept:.3f}; mini's has {now:.3f} now"
    )
    told = "" if same else told
  return f"*As of an earlier version: {told}.*\n\n" if told else ""


def _kept(file):
  return files.read_json(HERE / file)["compromised"]


def _of_mini():
  return files.read_json(MINI / "compromised.json")


def _now():
  return mini_config.get_config().pretrain.to_dict()


def _recipe(pretrain):
  """How models are pretrained, in words."""
  optimizer = pretrain["optimizer"]
  schedule = f"{pretrain['epochs']:g} epochs of batches of {pretrain['batch_size']}"
  return f"{optimizer['name']} at {optimizer['learning_rate']:g}, {schedule}"


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
