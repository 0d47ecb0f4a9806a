"""Writes the tables of README, docs/ and the studies, each from the JSON that its study kept, and
the order of the page's columns: python -m experiments.tabulate
"""

import pathlib

from configs import mini as mini_config
from experiments import front, methods_page
from experiments.accelerator import measure as accelerator
from experiments.anchored import tabulate as anchored
from experiments.baselines import tabulate as baselines
from experiments.clean_seeds import study as clean_seeds
from experiments.editions import study as editions
from experiments.embed_speed import measure as embed_speed
from experiments.fuzz import inputs as fuzz_inputs
from experiments.fuzz import kills as fuzz_kills
from experiments.meta import study as meta
from experiments.mini import tabulate as mini
from experiments.parity import measure as parity
from experiments.pretraining import study as pretraining
from experiments.published import readings
from experiments.scaling import measure as scaling
from experiments.speed import evaluation, inputs, loss, memory, step
from experiments.strict import closed_table, frontier_table, possible, robust_table, width
from salmu_jax.report import published_table
from salmu_jax.results import lookup, trust
from salmu_jax.runtime import files

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
DOCS = ROOT / "docs"
MINI = HERE / "mini" / "results"
# File -> {section: function that returns the text between `<!-- section: begin -->` and `end`}.
SECTIONS = {
  ROOT / "README.md": {
    "minutes": front.minutes,
    "terminal": front.terminal,
    "front": front.table,
  },
  DOCS / "results.md": {
    "mini": mini.section,
    "anchored": anchored.frontier,
    "published": published_table.published_markdown,
  },
  DOCS / "methods.md": {"overview": methods_page.overview, "details": methods_page.details},
  DOCS / "protocol.md": {"readings": readings.section},
  DOCS / "released.md": {"parity": parity.section, "embed_speed": embed_speed.section},
  DOCS / "scale.md": {"scaling": scaling.section},
  HERE / "accelerator" / "README.md": {"accelerator": accelerator.section},
  HERE / "anchored" / "README.md": {
    "frontier": anchored.frontier,
    "by_seed": anchored.by_seed,
    "strongest": anchored.strongest,
    "ablations": anchored.ablations,
    "reworded": anchored.reworded,
    "attacks": anchored.attacks,
    "pair": anchored.pair,
  },
  HERE / "baselines" / "README.md": {
    "cost": baselines.cost,
    "searched": baselines.searched,
    "picture": baselines.picture,
    "tuned": baselines.tuned,
    "untuned": baselines.untuned,
    "budgets": baselines.budgets,
  },
  HERE / "clean_seeds" / "README.md": {
    "spread": clean_seeds.spread,
    "quality": clean_seeds.quality,
  },
  HERE / "editions" / "README.md": {"editions": editions.section},
  HERE / "embed_speed" / "README.md": {"embed_speed": embed_speed.section},
  HERE / "fuzz" / "README.md": {"inputs": fuzz_inputs.section, "kills": fuzz_kills.section},
  HERE / "meta" / "README.md": {"meta": meta.section},
  HERE / "mini" / "README.md": {"times": mini.times},
  HERE / "parity" / "README.md": {"parity": parity.section},
  HERE / "pretraining" / "README.md": {"pretraining": pretraining.section},
  HERE / "scaling" / "README.md": {"scaling": scaling.section},
  HERE / "speed" / "README.md": {
    "step": step.section,
    "evaluation": evaluation.section,
    "inputs": inputs.section,
    "loss": loss.section,
    "memory": memory.section,
  },
  HERE / "strict" / "README.md": {"possible": possible.section, "width": width.section},
  HERE / "strict" / "closed.md": {
    "attacked": closed_table.attacked,
    "room": closed_table.room,
    "swept": closed_table.swept,
  },
  HERE / "strict" / "frontier.md": {
    "budgets": frontier_table.budgets,
    "levers": frontier_table.levers,
    "tokens": frontier_table.tokens,
    "folds": frontier_table.in_folds,
    "alike": frontier_table.baselines,
    "shares": frontier_table.shares,
    "seeds": frontier_table.seeds,
    "prices": frontier_table.prices,
    "pair": frontier_table.pair,
  },
  HERE / "strict" / "robust.md": {"robust": robust_table.section},
}
# Module -> the stored scores of the Compromised that the runs of its study start from.
STARTS = {
  anchored.__name__: lambda: anchored.records()["seed-0"]["compromised"]["scores"],
  baselines.__name__: lambda: baselines.bounds()["compromised"],
}


def earlier(make):
  """A note above a table if mini's pretraining has changed since the study; otherwise ""."""
  kept, name = files.read_json(MINI / "compromised.json"), make.__module__
  if name == mini.__name__:
    now = mini_config.get_config().pretrain.to_dict()
    then = {field: kept["salmu_jax"]["settings"][field] for field in now}
    changed = f"models were pretrained with {_recipe(then)}; mini now uses {_recipe(now)}"
  elif name in STARTS:
    both = STARTS[name](), lookup.flatten(kept)
    then, now = (f"{scores['RetFail_MRR']:.4f}" for scores in both)
    changed = f"these runs start from a Compromised with RetFail MRR {then}; mini's now has {now}"
  else:
    return ""
  return "" if then == now else f"*From an earlier version: {changed}.*\n\n"


def _recipe(pretrain):
  """The pretraining recipe in words."""
  optimizer = pretrain["optimizer"]
  schedule = f"{pretrain['epochs']:g} epochs of batches of {pretrain['batch_size']}"
  return f"{optimizer['name']} at {optimizer['learning_rate']:g}, {schedule}"


def filled(path):
  """The text of a file of SECTIONS with all sections regenerated."""
  text = path.read_text()
  for name, make in SECTIONS[path].items():
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    text = before + begin + earlier(make) + make() + end + after
  return text


if __name__ == "__main__":
  files.write_json(trust.PATH, meta.trusted())
  for file in SECTIONS:
    files.write_text(file, filled(file))
