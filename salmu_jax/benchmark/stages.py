"""The long stages of training: pretraining and unlearning. Each can be killed and started again."""

import contextlib
import importlib.metadata
import itertools
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

import salmu_jax
from salmu_jax import train
from salmu_jax.data import pipeline, releases, tokenizers
from salmu_jax.data.dataset import Data
from salmu_jax.data.zero_shot import ZeroShotSet
from salmu_jax.errors import InputError
from salmu_jax.interop import external_models
from salmu_jax.methods import MAKERS, base, batches
from salmu_jax.models import clip
from salmu_jax.runtime import files, hosts, progress, sharding, workdir
from salmu_jax.train import checkpoint, optimizers, writer

PRETRAINED = ("clean", "compromised")
_PRETRAIN_ORDER = 1  # stream of `pipeline.order_seed`; the other streams are in methods/batches.py
_VERSIONS = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scikit-learn")


class Setup(NamedTuple):
  """What every stage works with."""

  config: ConfigDict
  folder: pathlib.Path
  mesh: jax.sharding.Mesh
  release: releases.Release
  records: dict
  tokenizer: tokenizers.Tokenizer
  model: clip.CLIP
  zero_shot: ZeroShotSet | None
  retain_pairs: str = ""  # digest of config.retain_pairs; none where it is empty
  stop: hosts.Stop | None = None  # of `fit`; None where nothing stops it

  def model_folder(self, name):
    """Where a model's checkpoints, metrics and weights are."""
    return external_models.model_folder(self.config, self.folder, name)

  def splits(self, purpose):
    """The splits that a kind of training reads of this release, see `pipeline.READABLE`."""
    return pipeline.splits_of(self.release, purpose)

  @property
  def data(self):
    """The part that says what the data are."""
    return Data(self.release, self.records, self.tokenizer, self.zero_shot, self.retain_pairs)


def pretrain_schedule(setup, name):
  """Steps of Clean or Compromised: `epochs` passes over what the model sees.

  Both see every retain row equally often; Compromised takes the steps for `sensitive` on top.
  """
  settings, counts = setup.config.pretrain, setup.release.counts
  rows = sum(counts[split] for split in setup.splits(name))
  total = max(1, round(settings.epochs * rows / settings.batch_size))
  return train.Schedule(total, settings.log_every, settings.checkpoint_every)


def budget_steps(run, rows):
  """Steps of a run, one at least: `budget` passes over the rows of forget."""
  return max(1, round(run.budget * rows / run.batch_size))


def unlearn_schedule(setup, name):
  """Steps of a run by its name, and when it logs and saves."""
  run = setup.config.unlearn[name]
  total = budget_steps(run, setup.release.counts["forget"])
  return train.Schedule(total, run.log_every, run.checkpoint_every)


def pretrain_settings(setup):
  """All that a pretrained model depends on."""
  config = setup.config
  return {
    "seed": config.seed,
    "release": setup.release.digest,
    "retain_pairs": setup.retain_pairs,
    "model": config.model.to_dict(),
    "pretrain": config.pretrain.to_dict(),
  }


def start_digest(setup, name="compromised"):
  """Names a pretrained model: by its making here or elsewhere, or by weights brought in."""
  if setup.config.init[name]:
    return external_models.digest(setup.model_folder(name))
  return files.digest(pretrain_settings(setup))


def unlearn_settings(setup, name):
  """All that an unlearned model depends on."""
  return {
    "seed": setup.config.seed,
    "start": start_digest(setup),
    "release": setup.release.digest,
    "retain_pairs": setup.retain_pairs,
    "model": setup.config.model.to_dict(),
    **setup.config.unlearn[name].to_dict(),
  }


def pretrain(setup, name):
  """Trains Clean or Compromised from scratch, or loads it; returns its parameters.

  Both start from the same weights and share the schedule in epochs; Compromised sees `sensitive`
  among its rows (protocol section 1).
  """
  folder = setup.model_folder(name)
  if setup.config.init[name]:
    return load_params(setup, folder)
  config, schedule = setup.config, pretrain_schedule(setup, name)

  def work(folder):
    step, tx, layout = train.pretrain_program(config, setup.model, setup.mesh, schedule.total_steps)
    params = train.init_params(setup.model, config.seed, setup.mesh, config.sharding)
    examples = pipeline.training_examples(
      pipeline.open_training(setup.records, name, setup.splits(name)),
      setup.tokenizer,
      image_size=setup.model.sizes.image_size,
      seed=pipeline.order_seed(config.seed, _PRETRAIN_ORDER),
      area=config.pretrain.crop_area,
      flip=config.pretrain.flip,
    )
    state = train.start_state(params, tx, setup.mesh, layout)
    size, threads = config.pretrain.batch_size, config.reader_threads
    with contextlib.closing(pipeline.start(examples, size, threads=threads)) as stream:
      facts, _ = _train(setup, folder, name, step, state, stream, schedule)
    return {**facts, "reads": list(setup.splits(name)), "moves": "all parameters"}

  workdir.run_stage(folder, f"pretrain {name}", pretrain_settings(setup), work)
  return load_params(setup, folder)


def load_params(setup, folder):
  """The weights of a finished model, where config.sharding says that they lie."""
  return external_models.load_params(folder, setup.model, setup.mesh, setup.config.sharding)


def make_method(setup, name):
  """The Method of an unlearning run, with its optimizer.

  Raises:
    InputError: an argument is out of its range; names the field.
  """
  run, steps = setup.config.unlearn[name], unlearn_schedule(setup, name).total_steps
  optimizer = optimizers.make_optimizer(run.optimizer, steps)
  args = run.args.to_dict()
  try:
    return base.build(MAKERS[run.method], optimizer, args, steps=steps, seed=setup.config.seed)
  except InputError as error:
    raise InputError(f"config.unlearn.{name}.args.{error}") from error


def unlearn(setup, name, compromised):
  """Runs one unlearning run from the Compromised parameters; returns the unlearned ones.

  Reads forget and retain alone.
  """
  config, schedule = setup.config, unlearn_schedule(setup, name)
  run = config.unlearn[name]

  def work(folder):
    method = make_method(setup, name)
    jitted, tx, layout = train.unlearn_program(config, setup.model, setup.mesh, method)
    state = train.start_state(compromised, tx, setup.mesh, layout)
    # A checkpoint holds what was measured before it.
    if method.prepares and not checkpoint.any_in(folder / "checkpoints"):
      state = _prepared(setup, name, method, state, compromised, layout)
    step = lambda state, batch: jitted(state, compromised, batch)
    with contextlib.closing(unlearning_batches(setup, run, method.surrogates)) as stream:
      facts, unlearned = _train(setup, folder, name, step, state, stream, schedule)
    return {
      **facts,
      "reads": [split for half in method.reads for split in setup.splits(half)],
      "prepare_passes": len(method.prepares),  # over the same rows, however many parts measure
      "surrogates": method.surrogates and method.surrogates._asdict(),
      "moves": moved(compromised, unlearned),
    }

  folder = setup.model_folder(name)
  workdir.run_stage(folder, f"unlearn {name}", unlearn_settings(setup, name), work)
  return load_params(setup, folder)


def moved(before, after):
  """Which parameters changed, in words."""
  different = jax.jit(lambda a, b: jax.tree.map(lambda x, y: jnp.sum(x != y), a, b))
  entries = [int(count) for count in jax.tree.leaves(different(before, after))]
  arrays = sum(count > 0 for count in entries)
  share = sum(entries) / sum(x.size for x in jax.tree.leaves(before))
  return f"{arrays} of {len(entries)} arrays, {share:.1%} of all parameters"


def unlearning_batches(setup, run, surrogates=None):
  """The batches of a run, see `methods.batches.unlearning_batches`."""
  return batches.unlearning_batches(
    setup.data,
    run.batch_size,
    image_size=setup.model.sizes.image_size,
    seed=setup.config.seed,
    threads=setup.config.reader_threads,
    surrogates=surrogates,
  )


def _prepared(setup, name, method, state, params, layout):
  """The state after `method.prepares`, each of which sees one pass over forget."""
  run = setup.config.unlearn[name]
  jitted = train.jitted_gradients(
    setup.model, method, setup.mesh, layout=layout, accumulate=setup.config.accumulate
  )
  steps = max(1, setup.release.counts["forget"] // run.batch_size)

  def gradients():
    with (
      contextlib.closing(unlearning_batches(setup, run, method.surrogates)) as stream,
      progress.counting(f"measuring for {name}", steps) as tick,
    ):
      for batch in itertools.islice(stream, steps):
        yield jitted(params, sharding.put_batch(batch, setup.mesh))
        tick()

  return train.prepared(state, method, gradients, setup.mesh, layout)


def _train(setup, folder, label, step, state, stream, schedule):
  """Runs the loop with its checkpoints, log and bar; leaves `params`, and returns facts and
  them.
  """
  size = sum(x.nbytes for x in jax.tree.leaves(state))
  files.require_space(folder, 4 * size, f"the checkpoints of {label}")
  asking = setup.stop.between_steps() if setup.stop else contextlib.nullcontext(lambda: False)
  with (
    asking as stop_asked,
    contextlib.closing(writer.Writer(folder, setup.config.tensorboard)) as log,
    checkpoint.Checkpoints(folder / "checkpoints") as checkpoints,
    progress.bar(label, schedule.total_steps) as update,
  ):
    state = train.fit(
      step,
      state,
      stream,
      schedule,
      mesh=setup.mesh,
      checkpoints=checkpoints,
      writer=log,
      progress=lambda done, row: update(done, "  ".join(f"{k} {v:.3g}" for k, v in row.items())),
      stop_asked=stop_asked,
    )
  if hosts.is_first():
    tokenizers.save(setup.tokenizer, folder / "tokenizer.json")
  checkpoint.save_params(folder / "params", state.params)
  facts = {
    "steps": schedule.total_steps,
    "wall_seconds": log.seconds(),
    "device": f"{jax.devices()[0].device_kind} x {setup.mesh.size}",
    "versions": {
      "salmu_jax": salmu_jax.__version__,
      **{package: importlib.metadata.version(package) for package in _VERSIONS},
    },
  }
  return facts, state.params
