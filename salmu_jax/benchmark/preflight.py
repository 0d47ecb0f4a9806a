"""Checks that need the data: whatever would stop a stage later fails here, before any training."""

from collections.abc import Mapping

import jax
from ml_collections import ConfigDict

from salmu_jax import attacks
from salmu_jax.benchmark import footprint, stages
from salmu_jax.benchmark.job import Job
from salmu_jax.data import dataset, hub, pipeline, records, releases, texts
from salmu_jax.data.leaks import leaks
from salmu_jax.data.releases import Release
from salmu_jax.data.tokenizers import Tokenizer
from salmu_jax.errors import InputError
from salmu_jax.interop import external_models
from salmu_jax.methods import surrogates
from salmu_jax.models import clip, presets
from salmu_jax.runtime import hosts, sharding, workdir
from salmu_jax.train import optimizers
from salmu_jax.train.state import new_state


def check(job: Job, release: Release, tokenizer: Tokenizer, digests: dict[str, str]) -> None:
  """Raises InputError for what would stop a stage later.

  Args:
    job: the job.
    release: the opened release; its counts include the rows of config.retain_pairs.
    tokenizer: of the text tower.
    digests: of the data, see `dataset.digests`.
  """
  config = job.config
  sharding.parameter_layout(clip.shapes(job.model), job.mesh, config.sharding)
  for name in external_models.sources(config):
    external_models.check(config, job.workdir, name, tokenizer)
    stages.load_params(job, job.model_folder(name))
  states = {}
  for name in [name for name in stages.bounds(config) if not config.init[name]]:
    check_trainable(release, name)
    workdir.check_settings(job.model_folder(name), stages.pretrain_settings(job, digests))
    states[name] = check_pretraining(job, release, name)
  for name in config.unlearn:
    workdir.check_settings(job.model_folder(name), stages.unlearn_settings(job, digests, name))
    states[name] = check_unlearning(job, release, name)
  footprint.check_disk(job, states, footprint.bytes_of(clip.shapes(job.model)))
  check_fragile(config, release)
  attacks.check_data(config.attacks, release.counts)
  check_judged_start(job, digests)


def check_rows(config: ConfigDict, counts: Mapping[str, int]) -> None:
  """Raises InputError for a training batch with more rows than there are.

  Args:
    config: of the run. counts: {split: rows} of a release before it is generated, and of
      config.retain_pairs.
  """
  for name in [name for name in stages.bounds(config) if not config.init[name]]:
    rows = pipeline.row_count(counts, name)
    _check_epochs(config.pretrain, name, rows)
  for name, run in config.unlearn.items():
    _check_budget(config, name, counts)
    rows = pipeline.row_count(counts, "retain")
    dataset.check_rows(f"config.unlearn.{name}", run.batch_size, "retain", rows)
  attacks.check_data(config.attacks, counts)


def check_passes(where: str, passes: float, batch_size: int, rows: int) -> None:
  """Raises InputError where the passes over the rows are too few for one step.

  Args:
    where: the field of the config. passes: its value. batch_size, rows: of the training.
  """
  if not round(passes * rows / batch_size):
    raise InputError(
      f"{where} = {passes} makes no step: one batch of {batch_size} is {batch_size / rows:.3g} of "
      f"a pass over {rows} rows. Choose at least that."
    )


def check_captions(config: ConfigDict, release: Release) -> None:
  """Raises InputError where all pairs to forget share a caption: every retrieval would find it."""
  captions = releases.columns(release, "forget")["text"]
  if not len(captions):
    return  # every reader of forget refuses an empty split
  first = captions[0]
  alike = texts.as_read(first)
  if all(texts.as_read(other) == alike for other in captions[1:]):
    where = (
      f"config.forget = {config.forget!r}"
      if config.forget
      else f"The split 'forget' of {release.path}"
    )
    raise InputError(
      f"{where} has the same caption, {first!r:.80}, in all its rows, so every retrieval succeeds "
      "and no metric distinguishes models. Give at least two captions that differ in more than "
      "case and whitespace."
    )


def check_pairs(config: ConfigDict, release: Release) -> None:
  """Raises InputError unless `config.retain_pairs` can be the retain pairs of a release."""
  if not presets.sizes(config.model.preset).vocab_size:
    raise InputError(
      f"config.retain_pairs needs CLIP's full vocabulary, but the preset {config.model.preset!r} "
      "builds its own from the data. Choose another config.model.preset; vit_b16_narrow is the "
      "smallest."
    )
  for split in ("retain", records.PAIRS_SPLIT):
    if release.counts.get(split):
      raise InputError(
        f"config.retain_pairs is set, but the release {release.path} already has the split "
        f"{split!r}. Leave one of them out: config.retain_pairs is for a release without such "
        "pairs, like the published one."
      )


def check_trainable(release: Release, name: str) -> None:
  """Raises InputError unless a release has the splits that Clean or Compromised is trained on."""
  needed = {"clean": [("retain_real", "retain")]}
  needed["compromised"] = [*needed["clean"], ("sensitive",)]
  for alternatives in needed[name]:
    if not set(alternatives) & set(pipeline.splits_of(release.counts, name)):
      raise InputError(
        f"The release {release.path} has no split {' or '.join(map(repr, alternatives))}, so "
        f"{name.capitalize()} cannot be trained on it. Give weights in config.init.{name}, or name "
        "the directory with the training splits in config.training_release."
      )


def check_pretraining(job: Job, release: Release, name: str) -> int:
  """Raises InputError for Clean or Compromised with too few rows, or too many steps.

  Returns:
    The bytes of the training state.
  """
  settings, rows = job.config.pretrain, pipeline.row_count(release.counts, name)
  _check_epochs(settings, name, rows)
  steps = stages.pretrain_schedule(job, release, name).total_steps
  footprint.check_steps(f"config.pretrain.epochs = {settings.epochs}", steps)
  tx = optimizers.make_optimizer(settings.optimizer, 1)
  return footprint.bytes_of(jax.eval_shape(lambda: new_state(clip.init(job.model, 0), tx)))


def check_unlearning(job: Job, release: Release, name: str) -> int:
  """Raises InputError for a run whose method cannot be built, or lacks data that it reads.

  Returns:
    The bytes of the training state.
  """
  run = job.config.unlearn[name]
  _check_budget(job.config, name, release.counts)
  steps = stages.unlearn_schedule(job, release, name).total_steps
  footprint.check_steps(f"config.unlearn.{name}.budget = {run.budget}", steps)
  method = stages.make_method(job, release, name)
  # Building the state makes limits by parameter name look for their parameters.
  state = jax.eval_shape(lambda: new_state(clip.init(job.model, 0), method.tx))
  if method.surrogates:
    forget = leaks(release, releases.columns(release, "forget"))
    surrogates.maker(forget, method.surrogates.source, job.config.seed)
  rows = pipeline.row_count(release.counts, "retain")
  if rows or "retain" in method.reads:
    dataset.check_rows(f"config.unlearn.{name}", run.batch_size, "retain", rows)
  return footprint.bytes_of(state)


def check_fragile(config: ConfigDict, release: Release) -> None:
  """Raises InputError for a release without a fragile set if a run cannot add one.

  A run cannot add one on the hub, in a folder that is not writable, or without candidates. Own
  pairs have no such set.
  """
  if config.forget or releases.read_fragile(release) is not None:
    return
  if hub.is_address(config.release):
    raise InputError(
      f"The release {release.name} has no {releases.FRAGILE}, and a run cannot add it on the hub. "
      "Copy the release to a directory, and name that directory in config.release."
    )
  if all(releases.columns(release, "retain_synth")["identity_id"]):
    raise InputError(
      f"The release {release.path} has no {releases.FRAGILE}, and every row of retain_synth has "
      "an identity_id; the set is chosen from rows without one. Add such rows, or the file."
    )
  releases.check_fragile_writable(release, hosts.is_first())


def check_judged_start(job: Job, digests: dict[str, str]) -> None:
  """Raises InputError for a judged model that was unlearned from a different Compromised.

  Args:
    job, digests: as for `check`.
  """
  name = job.config.judge.name
  if not name:
    return
  start = workdir.read_settings(job.model_folder(name)).get("start")
  if start not in (None, stages.start_digest(job, digests)):
    raise InputError(
      f"config.judge.weights = {job.config.judge.weights!r} was unlearned from a different "
      "Compromised than this config's, so it would be compared with the wrong model. Name its "
      "Compromised in config.init.compromised."
    )


def _check_epochs(settings, name, rows):
  """Refuses a pretraining batch larger than the rows, and epochs too few for one step."""
  dataset.check_rows("config.pretrain", settings.batch_size, name, rows)
  check_passes("config.pretrain.epochs", settings.epochs, settings.batch_size, rows)


def _check_budget(config, name, counts):
  """Refuses an unlearning batch larger than forget, and a budget too small for one step."""
  run, where = config.unlearn[name], f"config.unlearn.{name}"
  rows = pipeline.row_count(counts, "forget")
  dataset.check_rows(where, run.batch_size, "forget", rows)
  check_passes(f"{where}.budget", run.budget, run.batch_size, rows)
