"""The provenance in a results file: settings, data, seed, devices, training curve."""

import pathlib
from typing import Any

from clu import parameter_overview
from ml_collections import ConfigDict

from salmu_jax import attacks, train
from salmu_jax.benchmark import stages
from salmu_jax.benchmark.job import Job
from salmu_jax.benchmark.stages import PRETRAINED
from salmu_jax.data import releases
from salmu_jax.data.dataset import Data
from salmu_jax.evaluate.evaluator import Evaluator
from salmu_jax.interop import external_models
from salmu_jax.methods import runs
from salmu_jax.models import clip
from salmu_jax.models.clip import CLIP
from salmu_jax.results import metrics_table
from salmu_jax.runtime import files, workdir
from salmu_jax.train import writer

_TRAINING_FACTS = ("reads", "moves", "steps", "wall_seconds", "device", "versions")


def result_inputs(job: Job, data: Data, name: str) -> str:
  """A digest of everything that a model's results depend on."""
  if name in job.config.unlearn:
    settings = stages.unlearn_settings(job, data.digests, name)
  elif name in PRETRAINED:
    settings = stages.start_digest(job, data.digests, name)
  else:
    settings = external_models.digest(job.model_folder(name))
  zero_shot = data.zero_shot.content if data.zero_shot else None
  fragile = releases.read_fragile(data.release)
  preset = job.config.model.preset
  judged = [_evaluation(job.config), attacks.chosen(job.config.attacks), zero_shot]
  return files.digest([settings, preset, data.release.digest, fragile, *judged])


def describe(job: Job, data: Data, evaluator: Evaluator, name: str) -> dict[str, Any]:
  """The provenance of a result; facts about training come from the training stage."""
  config, release, folder = job.config, data.release, job.model_folder(name)
  facts = workdir.read_model_facts(folder)
  settings = workdir.read_settings(folder)
  bound = name in PRETRAINED
  budget = settings.get("budget")
  return {
    "model": name,
    "role": name if bound else "unlearned",
    "method": settings.get("method"),
    "settings": _training_settings(settings, facts),
    "budget": None if budget is None else float(budget),
    # Imported weights need not say what they were unlearned from.
    "start": stages.start_digest(job, data.digests, name) if bound else settings.get("start"),
    "seed": settings.get("seed"),
    **{key: facts[key] for key in _TRAINING_FACTS},
    "tuning": None if bound else runs.tuning(config.unlearn.get(name)),
    "prepare_passes": facts.get("prepare_passes", 0),
    "surrogates": facts.get("surrogates"),
    "file_version": metrics_table.file_version(),
    "architecture": config.model.to_dict(),
    "parameters": parameter_count(job.model),
    "release": {
      "name": release.name,
      "manifest_sha256": release.digest,
      "holdout_unit": release.manifest.get("settings", {}).get("holdout_unit", "pair"),
      "retrieval_gallery": evaluator.gallery_size(),
      "holdout_galleries": evaluator.holdout_galleries(),
      "fragile_set_sha256": files.digest(releases.read_fragile(release)),
      "counts": release.counts,
      "derived": {k: int(mask.sum()) for k, (_, mask) in evaluator.derived().items()},
    },
    "evaluation": _evaluation(config),
    "attacks": attacks.chosen(config.attacks),
    "general_knowledge": _general_knowledge(data),
    "curve": _curve(folder / "metrics.jsonl"),
  }


def compared(job: Job, data: Data) -> dict[str, Any]:
  """The provenance that all results of a table share, as far as it is known before training."""
  return {
    "release": {"manifest_sha256": data.release.digest},
    "evaluation": _evaluation(job.config),
    "attacks": attacks.chosen(job.config.attacks),
    "start": stages.start_digest(job, data.digests),
  }


def parameter_count(model: CLIP) -> int:
  """The number of scalars in a model."""
  return int(parameter_overview.count_parameters(clip.shapes(model)))


def _evaluation(config: ConfigDict) -> dict[str, Any]:
  """The fields of config.evaluate that results depend on."""
  settings = config.evaluate.to_dict()
  del settings["batch_size"]
  return settings


def _training_settings(settings: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
  """The settings of a model's training, or the source of imported weights."""
  if "imported" in settings:
    return facts["weights"]
  apart = ("seed", "start", "release", "model")  # are in other fields
  rest = {field: value for field, value in settings.items() if field not in apart}
  return rest.get("pretrain", rest)


def _general_knowledge(data: Data) -> str:
  if data.zero_shot:
    return data.zero_shot.name
  return "not measured: config.imagenet names no ImageNet, and the release has no zero-shot split"


def _curve(path: pathlib.Path) -> list[dict[str, float]]:
  """The training metrics of a model; imported weights have none."""
  rows = writer.read(path) if path.exists() else []
  left_out = ("seconds", *train.PACE)
  return [{k: v for k, v in row.items() if k not in left_out} for row in rows]
