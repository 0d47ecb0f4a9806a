"""What makes mini's Compromised know facts: python -m experiments.editions.study WORKDIR

Data, text tower and pretraining that were tried for the second edition of mini. Each is generated,
pretrained as Clean and as Compromised, and judged: does the model find the value of a fact, given
face and name, in words that no release holds? Writes results.json, one after another; goes on
where it was killed.
"""

import pathlib

from configs import mini, mini_facts
from experiments import bounds
from salmu_jax.results import lookup
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results.json"
KEPT = (
  "RetFail_MRR",
  "GenKnow",
  "IdZSC",
  "FactLeak_own",
  "FactLeak_new",
  "FactLeak_nameless",
  "InterFactKept_new",
  "IntraFactKept_new",
  "InterIdRet_MRR",
  "IntraIdRet_MRR",
)


def _changed(base, **sections):
  """A config with some fields of its sections changed."""
  config = base.get_config("finetune")
  for section, changes in sections.items():
    config[section].update(changes)
  return config


def _names(nameless, namesakes=1, **changes):
  """The second edition with other shares of captions without a name, and other namesakes."""
  return _changed(mini_facts, generate={"nameless": nameless, "namesakes": namesakes}, **changes)


# Name -> the config.
EDITIONS = {
  "first edition": lambda: _changed(mini),
  "composed captions": lambda: _names(0.0),
  "composed, half of them without the name": lambda: _names(0.5),
  "composed, nine tenths without the name": lambda: _names(0.9),
  "composed, half without the name, 3 namesakes": lambda: _names(0.5, 3),
  "second edition: the same, 6 namesakes": lambda: _changed(mini_facts),
  "second edition, text tower of `tiny`": lambda: _names(0.5, 6, model={"preset": "tiny"}),
}


def main(argv=None):
  """Runs all editions that are not in results.json yet, or those that are named."""
  bounds.main(argv, "experiments.editions.study", RESULTS, "editions", EDITIONS, outcome)


def outcome(workdir, name):
  """What one edition gives: {model: metrics of KEPT, chance and seconds}."""
  config = EDITIONS[name]()
  shared = workdir / files.digest([config.generate.to_dict(), config.seed])[:12]
  own = shared / "trained" / files.digest([config.model.to_dict(), config.pretrain.to_dict()])[:12]
  found = {}
  for model, (results, seconds) in bounds.judged(config, shared, own).items():
    scores = lookup.flatten(results)
    facts = results["salmu_jax"]["additional"]["facts"]["forget"]["new"]
    found[model] = {key: scores[key] for key in KEPT}
    found[model] |= {"chance": facts["chance"], "seconds": seconds}
  return found


def section(path=RESULTS):
  """README's table: a row for each edition and model."""
  return bounds.table(path, "editions", "edition", (*KEPT, "chance"))


if __name__ == "__main__":
  main()
