"""Writes the tables of the READMEs, each from the JSON that its study kept: python -m
experiments.tabulate
"""

import pathlib

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
  HERE / "pretraining" / "README.md": {"pretraining": pretraining.section},
  HERE / "speed" / "README.md": {
    "step": step.section,
    "evaluation": evaluation.section,
    "inputs": inputs.section,
    "loss": loss.section,
  },
}
# Module -> the kept scores of the Compromised that the runs of its study start from.
STARTS = {
  anchored.__name__: lambda: anchored.records()["seed-0"]["compromised"]["scores"],
  baselines.__name__: lambda: baselines.bounds()["compromised"],
}


def earlier(make):
  """A line for the table of a study that was run before mini's kept models were trained anew."""
  if make.__module__ not in STARTS:
    return ""
  now = metrics_table.flatten(files.read_json(MINI / "compromised.json"))
  now, then = (f"{scores['RetFail_MRR']:.4f}" for scores in (now, STARTS[make.__module__]()))
  if now == then:
    return ""
  return (
    f"*As of an earlier version: these runs start from a Compromised whose RetFail MRR is {then}, "
    f"that of mini is {now} now.*\n\n"
  )


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
