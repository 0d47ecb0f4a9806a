"""Evaluates every model with one evaluator and the same attacks, and writes its results."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

from salmu_jax import attacks, train
from salmu_jax.attacks.base import Inputs
from salmu_jax.benchmark import provenance
from salmu_jax.benchmark.job import Job
from salmu_jax.data import releases
from salmu_jax.data.dataset import Data
from salmu_jax.data.leaks import leaks
from salmu_jax.errors import InputError
from salmu_jax.evaluate.evaluator import Evaluator
from salmu_jax.results import lookup
from salmu_jax.runtime import files, hosts, progress, times, written
from salmu_jax.train import checkpoint


def make_evaluator(job: Job, data: Data) -> Evaluator:
  """The evaluator of every model of a job."""
  return Evaluator(
    job.model,
    data.release,
    data.records,
    data.tokenizer,
    job.config.evaluate,
    job.mesh,
    kept=job.scratch / "kept",
    zero_shot_set=data.zero_shot,
    threads=job.config.reader_threads,
  )


def make_attacker(
  job: Job, data: Data, evaluator: Evaluator, bounds: Mapping[str, Any]
) -> Callable[..., dict[str, Any]] | None:
  """The attacker of every model, see `attacks.attacker`; None if config.attacks names no attack."""
  if not job.config.attacks.names:
    return None
  return attacks.attacker(attack_inputs(job, data, evaluator, bounds), job.config.attacks)


def attack_inputs(job: Job, data: Data, evaluator: Evaluator, bounds: Mapping[str, Any]) -> Inputs:
  """The inputs of the attacks; `bounds` are the parameters of "clean" and "compromised"."""
  return Inputs(
    data=data,
    evaluator=evaluator,
    clean=bounds["clean"],
    compromised=bounds["compromised"],
    leaks=leaks(data.release, evaluator.tables["forget"]),
    seed=job.config.seed,
    name_prompt=job.config.evaluate.name_prompt,
    program=functools.partial(train.unlearn_program, job.config, job.model, job.mesh),
    mesh=job.mesh,
    image_size=job.model.sizes.image_size,
    threads=job.config.reader_threads,
  )


def store_fragile_set(data: Data, evaluator: Evaluator, compromised: dict[str, Any]) -> None:
  """Adds the fragile set, scored by Compromised (arXiv 2603.26316), to a release without one."""
  if releases.read_fragile(data.release) is None:
    split, mask = evaluator.derived()["retain_disjoint"]
    names = releases.columns(data.release, split)["file_name"]
    cosines = evaluator.similarities(compromised, split)
    hosts.first_then_all(
      lambda: releases.write_fragile(data.release, names[mask], cosines[mask], hosts.is_first())
    )


def is_evaluated(job: Job, data: Data, name: str) -> bool:
  """Whether results/<name>.json is there.

  Raises:
    InputError: the file was made with another config, or has changed since it was written.
  """
  path = job.workdir / _result(name)
  if not path.exists():
    return False
  if written.changed(job.workdir, [_result(name)]):
    raise InputError(
      f"{path} has changed since the run wrote it. Restore it, or delete it to evaluate the model "
      "again."
    )
  inputs = files.read_object(path, salmu_jax=dict)["salmu_jax"].get("inputs")
  if inputs != provenance.result_inputs(job, data, name):
    raise InputError(
      f"{path} was made with another config or an older version. Choose another --workdir, or "
      "delete that file to evaluate the model again."
    )
  return True


def is_exported(job: Job, name: str) -> bool:
  """Whether compat/<name>.json holds the numbers of results/<name>.json, which must exist."""
  path = job.workdir / _compat(name)
  try:
    return path.exists() and files.read_json(path) == _numbers(job, name)
  except InputError:  # damaged; it is written again
    return False


def evaluate(
  job: Job,
  data: Data,
  evaluator: Evaluator,
  name: str,
  params: dict[str, Any],
  attack: Callable[..., dict[str, Any]] | None = None,
) -> None:
  """Writes results/<name>.json, and compat/<name>.json for other readers, unless they exist.

  Args:
    job, data: of the run.
    evaluator: from `make_evaluator`.
    name: of the model.
    params: of the model.
    attack: from `make_attacker`.
  """
  if is_evaluated(job, data, name):
    if hosts.is_first():
      _export(job, name)
    for stage in _stages(name, attack):
      times.recorder.reused(stage)
    return
  began, attacking = time.monotonic(), []
  results = evaluator.run(params, f"evaluate {name}", attack and _timed(attack, attacking))
  weights = checkpoint.digest(params)
  if not hosts.is_first():
    return
  about = provenance.describe(job, data, evaluator, name)
  about |= {
    "additional": results.pop("salmu_jax")["additional"],
    "weights_sha256": weights,
    "inputs": provenance.result_inputs(job, data, name),
    "evaluation_seconds": time.monotonic() - began,
  }
  written.write_json(job.workdir, _result(name), {**results, "salmu_jax": about})
  _export(job, name)
  seconds = [time.monotonic() - began - sum(attacking), *attacking]
  for stage, took in zip(_stages(name, attack), seconds, strict=True):
    progress.console.print(f"{stage}: {progress.duration(took)}")
    times.recorder.done(stage, took)


def _export(job, name):
  """Writes compat/<name>.json from the results, unless it is up to date."""
  if not is_exported(job, name):
    files.write_json(job.workdir / _compat(name), _numbers(job, name))


def _stages(name, attack):
  """The names of the stages of `evaluate` in the table of times."""
  return [f"evaluate {name}", f"attack {name}"] if attack else [f"evaluate {name}"]


def _timed(attack, seconds):
  """The attack, which appends its duration to `seconds`."""

  def timed(params, z):
    began = time.monotonic()
    findings = attack(params, z)
    seconds.append(time.monotonic() - began)
    return findings

  return timed


def _result(name):
  return f"results/{name}.json"


def _compat(name):
  return f"compat/{name}.json"


def _numbers(job, name):
  """The results of a model in the format for other readers."""
  path = job.workdir / _result(name)
  return lookup.compat(files.read_object(path, efficacy=dict, utility=dict))
