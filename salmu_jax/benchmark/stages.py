"""The training stages: pretraining and unlearning. A stage that was killed resumes when rerun."""

import contextlib
import functools
import importlib.metadata
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import salmu_jax
from salmu_jax import train
from salmu_jax.benchmark.job import Job
from salmu_jax.data import pipeline, records, tokenizers
from salmu_jax.data.dataset import Data
from salmu_jax.data.releases import Release
from salmu_jax.data.tokenizers import Tokenizer
from salmu_jax.errors import InputError
from salmu_jax.interop import external_models
from salmu_jax.methods import base, batches, maker, runs
from salmu_jax.methods.base import Method, Surrogates
from salmu_jax.models import flops
from salmu_jax.runtime import files, hosts, progress, sharding, tracing, workdir
from salmu_jax.runtime.places import Place
from salmu_jax.train import checkpoint, optimizers, writer

PRETRAINED = ("clean", "compromised")
_PRETRAIN_ORDER = 1  # stream of `pipeline.order_seed`; the other streams are in methods/batches.py
# embed_pictures(params, split) -> (N, D), see `Evaluator.embed_pictures`.
EmbedPictures = Callable[[dict[str, Any], str], np.ndarray]
_VERSIONS = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scikit-learn")


def bounds(config: ConfigDict) -> tuple[str, ...]:
  """The pretrained models of a run; own pairs have no Clean."""
  return PRETRAINED[1:] if config.forget else PRETRAINED


def pretrain_schedule(job: Job, release: Release, name: str) -> train.Schedule:
  """The schedule of Clean or Compromised: `epochs` passes over the rows that the model sees.

  Both see every retain row equally often; Compromised takes the steps for `sensitive` on top.
  """
  settings = job.config.pretrain
  rows = pipeline.row_count(release.counts, name)
  total = round(settings.epochs * rows / settings.batch_size)
  size = settings.batch_size
  operations = flops.training_step(job.model.sizes, size)
  at_peak = operations / (flops.PEAKS.get(jax.devices()[0].device_kind, np.inf) * job.mesh.size)
  return train.Schedule(total, settings.log_every, settings.checkpoint_every, size, at_peak)


def budget_steps(run: ConfigDict, rows: int) -> int:
  """The steps of a run: `budget` passes over the rows of forget."""
  return round(run.budget * rows / run.batch_size)


def measuring_steps(run: ConfigDict, rows: int) -> int:
  """The number of batches in a method's measuring pass over forget, at least one."""
  return max(1, rows // run.batch_size)


def unlearn_schedule(job: Job, release: Release, name: str) -> train.Schedule:
  """The schedule of an unlearning run."""
  run = job.config.unlearn[name]
  total = budget_steps(run, release.counts["forget"])
  return train.Schedule(total, run.log_every, run.checkpoint_every, 2 * run.batch_size)


def pretrain_settings(job: Job, digests: dict[str, str]) -> dict[str, Any]:
  """Everything that a pretrained model depends on.

  Args:
    job: the job.
    digests: of its data, see `dataset.digests`.
  """
  return {
    "seed": job.config.seed,
    **digests,
    "model": job.config.model.to_dict(),
    "pretrain": job.config.pretrain.to_dict(),
  }


def start_digest(job: Job, digests: dict[str, str], name: str = "compromised") -> str:
  """Identifies a pretrained model: by its settings if it is trained here, else by its weights.

  Args:
    job, digests: as for `pretrain_settings`.
    name: of PRETRAINED.
  """
  if job.config.init[name]:
    return external_models.digest(job.model_folder(name))
  return files.digest(pretrain_settings(job, digests))


def unlearn_settings(job: Job, digests: dict[str, str], name: str) -> dict[str, Any]:
  """Everything that an unlearned model depends on.

  Args:
    job, digests: as for `pretrain_settings`.
    name: of a run of `config.unlearn`.
  """
  return {
    "seed": job.config.seed,
    "start": start_digest(job, digests),
    **digests,
    "model": job.config.model.to_dict(),
    **runs.training_settings(job.config.unlearn[name]),
  }


def pretrain(job: Job, data: Data, name: str) -> dict[str, Any]:
  """Trains Clean or Compromised from scratch, or loads it; returns its parameters.

  Both start from the same weights and share the schedule in epochs. Compromised also sees
  `sensitive`.
  """
  folder = job.model_folder(name)
  if job.config.init[name]:
    return load_params(job, folder)
  config, schedule = job.config, pretrain_schedule(job, data.release, name)

  def work(folder: Place) -> dict[str, Any]:
    examples = pipeline.training_examples(
      pipeline.open_training(data.records, name, data.splits(name)),
      data.tokenizer,
      image_size=job.model.sizes.image_size,
      seed=pipeline.order_seed(config.seed, _PRETRAIN_ORDER),
      area=config.pretrain.crop_area,
      flip=config.pretrain.flip,
    )
    size, threads = config.pretrain.batch_size, config.reader_threads
    program = train.pretrain_program(
      config, job.model, job.mesh, schedule.total_steps, lambda: pipeline.sample_texts(examples)
    )
    params = train.init_params(job.model, config.seed, job.mesh, config.sharding)
    state = program.start(params)
    with contextlib.closing(pipeline.start(examples, size, threads=threads)) as stream:
      cut = program.batches(stream)
      facts, _ = _train(job, data.tokenizer, folder, name, program.step, state, cut, schedule)
    return {**facts, "reads": list(data.splits(name)), "moves": "all parameters"}

  workdir.run_stage(folder, f"pretrain {name}", pretrain_settings(job, data.digests), work)
  return load_params(job, folder)


def load_params(job: Job, folder: Place) -> dict[str, Any]:
  """The weights of a finished model, sharded by `config.sharding`."""
  return external_models.load_params(folder, job.model, job.mesh, job.config.sharding)


def make_method(job: Job, release: Release, name: str) -> Method:
  """The Method of an unlearning run, with its optimizer.

  Raises:
    InputError: an argument is out of range; names the field.
  """
  run, steps = job.config.unlearn[name], unlearn_schedule(job, release, name).total_steps
  optimizer = optimizers.make_optimizer(run.optimizer, steps)
  args = run.args.to_dict()
  try:
    return base.build(maker(run.method), optimizer, args, steps=steps, seed=job.config.seed)
  except InputError as error:
    raise InputError(f"config.unlearn.{name}.args.{error}") from error


def unlearn(
  job: Job,
  data: Data,
  name: str,
  compromised: dict[str, Any],
  embed_pictures: EmbedPictures | None = None,
) -> dict[str, Any]:
  """Runs one unlearning run from the Compromised parameters; returns the unlearned parameters.

  Reads only forget and retain.

  Args:
    job, data: of the run.
    name: of the run of `config.unlearn`.
    compromised: the parameters to start from.
    embed_pictures: embed_pictures(params, split) -> (N, D), for methods that do not change the
      image tower; None to embed images in every step.
  """
  config, schedule = job.config, unlearn_schedule(job, data.release, name)
  run = config.unlearn[name]

  def work(folder: Place) -> dict[str, Any]:
    method = make_method(job, data.release, name)
    rows = data
    if embed_pictures and not method.image_tower:
      embed = functools.partial(embed_pictures, compromised)
      rows = with_embeddings(data, method, embed, schedule.total_steps * run.batch_size)
    texts = lambda: pipeline.sample_texts(unlearning_examples(job, rows, method.surrogates))
    program = train.unlearn_program(config, job.model, job.mesh, method, run.batch_size, texts)
    state = program.start(compromised)
    # A checkpoint already holds these measurements.
    if method.prepares and not checkpoint.any_in(folder / "checkpoints"):
      state = _prepared(job, rows, name, method, state, compromised, program.layout)
    step = lambda state, batch: program.step(state, compromised, batch)
    with contextlib.closing(unlearning_batches(job, rows, run, method.surrogates)) as stream:
      cut = program.batches(stream)
      facts, unlearned = _train(job, data.tokenizer, folder, name, step, state, cut, schedule)
    _check_image_tower(name, method, compromised, unlearned)
    return {
      **facts,
      "reads": [split for half in method.reads for split in data.splits(half)],
      "prepare_passes": len(method.prepares),  # over the same rows, however many parts measure
      "surrogates": method.surrogates and method.surrogates._asdict(),
      "moves": moved(compromised, unlearned),
    }

  folder = job.model_folder(name)
  workdir.run_stage(folder, f"unlearn {name}", unlearn_settings(job, data.digests, name), work)
  return load_params(job, folder)


def with_embeddings(
  data: Data, method: Method, embed: Callable[[str], np.ndarray], draws: int
) -> Data:
  """The data with precomputed embeddings of the images that a run is likely to see.

  If a run draws fewer rows than a half has, as with millions of pairs, the images of that half are
  embedded as they are drawn.

  Args:
    data: of the run. method: of the run. draws: number of rows that it draws from a half.
    embed: embed(split) -> (N, D).
  """
  splits = [
    split for half in method.reads if data.count(half) <= draws for split in data.splits(half)
  ]
  rows = {split: records.EmbeddedRows(data.records[split], embed(split)) for split in splits}
  return data._replace(records={**data.records, **rows})


def _check_image_tower(
  name: str, method: Method, before: dict[str, Any], after: dict[str, Any]
) -> None:
  if not method.image_tower and len({checkpoint.digest(p, "visual") for p in (before, after)}) > 1:
    raise InputError(
      f"config.unlearn.{name}: its method has image_tower=False but changed the image tower. "
      "Train with transforms.only(optimizer, '^text/'), or leave image_tower at True."
    )


def moved(before: dict[str, Any], after: dict[str, Any]) -> str:
  """Which parameters changed, in words."""
  different = jax.jit(lambda a, b: jax.tree.map(lambda x, y: jnp.sum(x != y), a, b))
  entries = [int(count) for count in jax.tree.leaves(different(before, after))]
  arrays = sum(count > 0 for count in entries)
  share = sum(entries) / sum(x.size for x in jax.tree.leaves(before))
  return f"{arrays} of {len(entries)} arrays, {share:.1%} of all parameters"


def unlearning_batches(
  job: Job, data: Data, run: ConfigDict, surrogates: Surrogates | None = None
) -> Iterator[dict[str, Any]]:
  """The batches of a run; a checkpointable iterator, which `close` ends."""
  examples = unlearning_examples(job, data, surrogates)
  return pipeline.start(examples, run.batch_size, threads=job.config.reader_threads)


def unlearning_examples(job: Job, data: Data, surrogates: Surrogates | None) -> Sequence[Mapping]:
  """The examples of a run's batches: endless {"forget": example, "retain": example}."""
  size, seed = job.model.sizes.image_size, job.config.seed
  return batches.unlearning_examples(data, image_size=size, seed=seed, surrogates=surrogates)


def _prepared(
  job: Job,
  data: Data,
  name: str,
  method: Method,
  state: train.TrainState,
  params: dict[str, Any],
  layout: train.TrainState,
) -> train.TrainState:
  """The state after `method.prepares`, each of which reads one pass over forget."""
  run = job.config.unlearn[name]
  jitted = train.jitted_gradients(
    job.model, method, job.mesh, layout=layout, accumulate=job.config.accumulate
  )
  steps = measuring_steps(run, data.release.counts["forget"])

  def gradients():
    with (
      contextlib.closing(unlearning_batches(job, data, run, method.surrogates)) as stream,
      progress.counting(f"measuring for {name}", steps) as tick,
    ):
      for batch in itertools.islice(stream, steps):
        yield jitted(params, sharding.put_batch(batch, job.mesh))
        tick()

  return train.prepared(state, method, gradients, job.mesh, layout)


def _writer(job: Job, folder: Place) -> writer.Writer:
  """The log writer of a training stage; the stage's folder holds its settings."""
  settings = workdir.read_settings(folder) if hosts.is_first() else {}
  return writer.Writer(folder, job.config.tensorboard, settings, job.config.wandb_project)


def _train(
  job: Job,
  tokenizer: Tokenizer,
  folder: Place,
  label: str,
  step: Callable,
  state: train.TrainState,
  stream: Iterator,
  schedule: train.Schedule,
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Trains with checkpoints, log and progress bar; saves the model; returns (facts, parameters)."""
  size = sum(x.nbytes for x in jax.tree.leaves(state))
  files.require_space(folder, 4 * size, f"the checkpoints of {label}")
  between_steps = job.stop.between_steps() if job.stop else contextlib.nullcontext(lambda: False)
  with (
    between_steps as stop_asked,
    contextlib.closing(_writer(job, folder)) as log,
    checkpoint.Checkpoints(folder / "checkpoints") as checkpoints,
    progress.bar(label, schedule.total_steps) as update,
    tracing.tracing(job.profile, folder) as trace,
  ):
    state = train.fit(
      step,
      state,
      stream,
      schedule,
      checkpoints=checkpoints,
      writer=log,
      progress=lambda done, row: update(done, "  ".join(f"{k} {v:.3g}" for k, v in row.items())),
      stop_asked=stop_asked,
      trace=trace,
    )
  if hosts.is_first():
    tokenizers.save(tokenizer, folder / "tokenizer.json")
  checkpoint.save_params(folder / "params", state.params)
  facts = {
    "weights_sha256": checkpoint.digest(state.params),
    "steps": schedule.total_steps,
    "wall_seconds": log.seconds(),
    "device": f"{jax.devices()[0].device_kind} x {job.mesh.size}",
    "versions": {
      "salmu_jax": salmu_jax.__version__,
      **{package: importlib.metadata.version(package) for package in _VERSIONS},
    },
  }
  return facts, state.params
