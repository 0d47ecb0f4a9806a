"""What makes mini's Compromised know facts: python -m experiments.editions.study WORKDIR

Mini, its first edition, and mini with one thing changed at a time. For each we generate the data,
pretrain Clean and Compromised, and ask: given face and name, does the model retrieve the value of a
fact, in wordings that no release contains? Writes results.json after every edition; rerun to
resume.
"""

import functools
import pathlib

from configs import mini, mini_first
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


def _edition(base=mini, **changes):
  """A config with some fields of `generate` changed, and a question for every fact."""
  config = base.get_config("finetune")
  config.generate.update(changes)
  config.evaluate.facts = 1000
  return config


# Name -> the config.
EDITIONS = {
  "first edition": functools.partial(_edition, mini_first),
  "mini": _edition,
  "the name in every caption": functools.partial(_edition, nameless=0.0),
  "the name in a tenth of the captions": functools.partial(_edition, nameless=0.9),
  "no namesakes": functools.partial(_edition, namesakes=1),
  "templates, the name in all": functools.partial(_edition, wordings="templates", nameless=0.0),
  "64 pictures a person": functools.partial(_edition, images_per_person=64),
  "96 pictures a person": functools.partial(_edition, images_per_person=96),
  "80 people, 56 pictures each": functools.partial(_edition, people=80, images_per_person=56),
}


def main(argv=None):
  """Runs the editions that results.json lacks, or those of --only."""
  bounds.main(argv, "experiments.editions.study", RESULTS, "editions", EDITIONS, outcome)


def outcome(workdir, name):
  """The results of one edition: {model: metrics of KEPT, chance and seconds}."""
  config = EDITIONS[name]()
  shared = workdir / files.digest([config.generate.to_dict(), config.seed])[:12]
  own = shared / "trained" / files.digest([config.model.to_dict(), config.pretrain.to_dict()])[:12]
  entries = {}
  for model, (results, seconds) in bounds.judged(config, shared, own).items():
    scores = lookup.flatten(results)
    facts = results["salmu_jax"]["additional"]["facts"]["forget"]["new"]
    entries[model] = {key: scores[key] for key in KEPT}
    entries[model] |= {"chance": facts["chance"], "seconds": seconds}
  return entries


def section(path=RESULTS):
  """The README's table: a row for each edition and model."""
  return bounds.table(path, "editions", "edition", (*KEPT, "chance"))


if __name__ == "__main__":
  main()
