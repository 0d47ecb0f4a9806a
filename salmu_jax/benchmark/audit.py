"""Audits unlearning of your own pairs from your own model: leaks before and after, and the cost.

There is no Clean model and no holdout of known people, so an audit cannot measure the distance to
a model trained without the pairs. It reports each number before and after unlearning, with the
chance level. `NOT_MEASURED` lists what it leaves out.
"""

import collections
import functools
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from salmu_jax import attacks
from salmu_jax.attacks import relearning
from salmu_jax.attacks.base import NEEDS
from salmu_jax.benchmark import evaluation, opening, provenance, stages
from salmu_jax.benchmark.job import Job
from salmu_jax.data import own
from salmu_jax.data.dataset import Data
from salmu_jax.data.leaks import leaks
from salmu_jax.data.releases import Release
from salmu_jax.evaluate import facts, measures, metrics
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.evaluate.evaluator import Evaluator
from salmu_jax.interop import convert, origin
from salmu_jax.report import audit_table
from salmu_jax.results import bootstrap, recoverability
from salmu_jax.results.metrics_table import FACT_WORDINGS
from salmu_jax.results.reductions import REDUCTIONS, reduce
from salmu_jax.runtime import files, hosts, places, progress, times, workdir
from salmu_jax.train import checkpoint

START = "compromised"
_RETAINED = 1000  # pairs to keep that are evaluated
_STREAM = 17  # of config.evaluate.seed
NOT_MEASURED = (
  "InterIdSim, IntraIdSim, VisIdInt, FragSim and holdout retrieval: they need holdouts, pairs of "
  "known people that unlearning never reads.",
  "Verdicts and shares of the leak: they need a Clean model, trained without the pairs.",
)


def possible_attacks(names: Sequence[str], tell_facts: bool) -> tuple[str, ...]:
  """The named attacks that can run on own pairs."""
  here = {"facts"} if tell_facts else set()
  return tuple(name for name in names if set(attacks.ATTACKS[name].needs) <= here)


def possible(config: ConfigDict, release: Release) -> ConfigDict:
  """The config with only the attacks that can run on own pairs."""
  config, tell_facts = config.copy_and_resolve_references(), release.manifest["facts"]
  config.attacks.names = possible_attacks(config.attacks.names, tell_facts)
  search = config.attacks.relearning
  if not tell_facts:  # a caption about others would be the caption itself
    search.mixes = tuple(mix for mix in search.mixes if mix != relearning.OTHERS)
  return config


def run(job: Job, data: Data) -> None:
  """Unlearns, audits and exports every missing model of a job on own pairs."""
  data = opening.store_pictures(job, data)
  evaluator = evaluation.make_evaluator(job, data)
  start = stages.pretrain(job, data, START)
  bounds = {"clean": None, START: start}
  attack = evaluation.make_attacker(job, data, evaluator, bounds)
  _audit(job, data, evaluator, START, start, attack)
  for name in job.config.unlearn:
    unlearned = stages.unlearn(job, data, name, start, evaluator.embed_pictures)
    _audit(job, data, evaluator, name, unlearned, attack)
    hosts.first_alone(lambda name=name: _export(job, name))
  hosts.first_alone(lambda: _report(job, data, evaluator))


def is_finished(job: Job, data: Data) -> bool:
  """Whether every model of a job is audited and exported, and the report is up to date."""
  names = (START, *job.config.unlearn)
  report = job.workdir / audit_table.FILES[-1]
  return (
    all(_is_audited(job, data, name) for name in names)
    and all(_is_exported(job, name) for name in job.config.unlearn)
    and report.exists()
    and files.read_object(report, models=list)["models"] == _audits(job)
  )


def show(job: Job) -> None:
  """Prints the table."""
  progress.console.print(audit_table.terminal(_audits(job)))


def _audits(job: Job) -> list[dict[str, Any]]:
  """The audits of a job, starting with the model before unlearning."""
  names = (START, *job.config.unlearn)
  parts = {"numbers": dict, recoverability.PATH[-1]: dict}
  return [files.read_object(_path(job, name), model=str, **parts) for name in names]


def _report(job: Job, data: Data, evaluator: Evaluator) -> None:
  audits = _audits(job)
  missing = [*NOT_MEASURED, *_left_out(data, evaluator)]
  if data.zero_shot is None:
    missing.append("General knowledge: config.imagenet is empty, so it has no test images.")
  audit_table.write(job.workdir, audits, missing, _looked_at(data, evaluator))
  progress.console.print(audit_table.terminal(audits))


def _looked_at(data: Data, evaluator: Evaluator) -> str:
  """The number of pairs, people and facts that the audit covers, in words."""
  counts = data.release.counts
  text = f"{counts[own.FORGET]:,} pairs to forget"
  if data.release.manifest["facts"]:
    leaked = leaks(data.release, evaluator.tables[own.FORGET])
    people = len({leak.identity for leak in leaked})
    text += f", of {people:,} people and {len({leak.fact for leak in leaked}):,} facts"
  kept = min(counts[own.RETAIN], _RETAINED)
  return f"{text}; {kept:,} of {counts[own.RETAIN]:,} pairs to keep."


def _left_out(data: Data, evaluator: Evaluator) -> list[str]:
  """A line for each metric and attack that own pairs do not support."""
  tell_facts = data.release.manifest["facts"]
  possible = possible_attacks(tuple(attacks.ATTACKS), tell_facts)
  facts_missing = [f"FactLeak: it needs {NEEDS['facts']}."]
  if tell_facts:
    questions = evaluator.questions()[own.FORGET]
    facts_missing = [
      f"FactLeak_{w}: {questions[w].why}." for w in FACT_WORDINGS if questions[w].why
    ]
  return facts_missing + [
    f"The attack {name}: it needs {' and '.join(NEEDS[need] for need in attack.needs)}."
    for name, attack in attacks.ATTACKS.items()
    if name not in possible
  ]


def _export(job: Job, name: str) -> None:
  """Writes export/NAME in the layout of the original weights, unless it is up to date."""
  if _is_exported(job, name):
    return
  target = job.workdir / "export" / name
  if (target / origin.FILE).exists():  # of an earlier version of the model
    target.rmtree() if places.is_remote(target) else shutil.rmtree(target)
  start = workdir.read_done(job.model_folder(START))
  layout = start.get("weights", {}).get("layout", "openclip")
  convert.export_model(job.model_folder(name), target, layout)


def _is_exported(job: Job, name: str) -> bool:
  """Whether export/NAME holds the current model."""
  stage = job.workdir / "export" / name / origin.FILE
  return stage.exists() and files.read_json(stage) == origin.of(job.model_folder(name))


def _path(job: Job, name: str):
  return job.workdir / "audit" / f"{name}.json"


def _is_audited(job: Job, data: Data, name: str) -> bool:
  path = _path(job, name)
  inputs = provenance.result_inputs(job, data, name)
  return path.exists() and files.read_object(path).get("inputs") == inputs


def _audit(
  job: Job,
  data: Data,
  evaluator: Evaluator,
  name: str,
  params: Mapping[str, Any],
  attack: Callable | None,
) -> None:
  """Writes audit/NAME.json unless it is up to date."""
  label = f"audit {name}"
  if _is_audited(job, data, name):
    times.recorder.reused(label)
    return
  began = time.monotonic()
  z = evaluator.embed(params, label)
  tell_facts = data.release.manifest["facts"]
  numbers = measure(evaluator, params, z, job.config.evaluate.seed, tell_facts)
  findings = attack(params, z) if attack else {}
  weights = checkpoint.digest(params)
  if not hosts.is_first():
    return
  settings = workdir.read_settings(job.model_folder(name))
  files.write_json(
    _path(job, name),
    {
      "model": name,
      "method": settings.get("method"),
      "budget": settings.get("budget"),
      "settings": settings,
      "release": data.release.digest,
      "numbers": numbers,
      recoverability.PATH[-1]: findings,
      "weights_sha256": weights,
      "inputs": provenance.result_inputs(job, data, name),
    },
  )
  took = time.monotonic() - began
  progress.console.print(f"{label}: {progress.duration(took)}")
  times.recorder.done(label, took)


def measure(
  evaluator: Evaluator, params: Mapping[str, Any], z: Embedded, seed: int, tell_facts: bool
) -> dict[str, dict[str, Any]]:
  """The numbers of an audit: {number: {"value", "interval" or None, "chance" or None, "better"}}.

  Args:
    evaluator: of the own pairs. params: of the model. z: its embeddings of the pairs.
    seed: of the sample of pairs to keep. tell_facts: whether each pair to forget states its fact.
  """
  forget = evaluator.tables[own.FORGET]
  ranks, people = evaluator.ranks(z), forget["identity_id"]
  cosines = np.asarray(metrics.cosines(z.image[own.FORGET], z.of(forget["text"])))
  # Identical captions do not compete.
  among = collections.Counter(evaluator.gallery().tolist())
  sizes = [1 + among.total() - among[text] for text in forget["text"]]
  mrr, first = (float(np.mean(one)) for one in ([*map(_guess, sizes)], 1 / np.array(sizes)))
  numbers = {
    "RetFail_MRR": _number(REDUCTIONS["MRR"].row_values(ranks), people, "lower", mrr),
    "RetFail_R@1": _number(REDUCTIONS["R@1"].row_values(ranks), people, "lower", first),
    "AssocStr": _number(cosines, people, "lower"),
  }
  numbers |= _told(evaluator, z, people) if tell_facts else {}
  numbers |= _kept(evaluator, params, z, seed)
  knowledge = evaluator.general_knowledge(z)
  if knowledge is not None:
    numbers["GenKnow"] = {"value": knowledge, "interval": None, "chance": None, "better": "higher"}
  return numbers


def _told(evaluator, z, people):
  """FactLeak in each wording that has questions."""
  questions = {own.FORGET: evaluator.questions()[own.FORGET]}
  answered = facts.answered(questions, z)[own.FORGET]
  numbers = {}
  for wording in FACT_WORDINGS:
    part, answers = answered[wording]
    if len(part.rows):
      values, who = answers.reciprocal_rank, people[part.rows]
      numbers[f"FactLeak_{wording}"] = _number(values, who, "lower", facts.chance(part))
  return numbers


def _kept(evaluator, params, z, seed):
  """Retrieval and cosine of a random sample of pairs to keep."""
  table = evaluator.tables[own.RETAIN]
  rng, count = np.random.default_rng([seed, _STREAM]), len(table["text"])
  rows = np.sort(rng.permutation(count)[:_RETAINED])
  image = evaluator.embed_pictures(params, own.RETAIN, rows)[rows]
  captions = table["text"][rows]
  text, gallery = z.of(captions), list(dict.fromkeys(captions))
  ranks = measures.ranks_among(image, text, captions, z.of(gallery), gallery)
  groups = [str(row) for row in rows]
  guess = _guess(len(gallery))
  return {
    "Retain_MRR": _number(REDUCTIONS["MRR"].row_values(ranks), groups, "higher", guess),
    "RetainSim": _number(np.asarray(metrics.cosines(image, text)), groups, "higher"),
  }


def _number(values, groups, better, chance=None):
  """A mean with its bootstrap interval, rows resampled by group."""
  interval = bootstrap.of_rows(values, list(groups))
  return {
    "value": float(reduce("mean", values)),
    "interval": interval,
    "chance": chance,
    "better": better,
  }


@functools.cache
def _guess(size: int) -> float:
  """The mean reciprocal rank of a guess among `size` captions."""
  return float(np.mean(1 / np.arange(1, size + 1)))
