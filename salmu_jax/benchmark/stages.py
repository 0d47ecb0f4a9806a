"""The long stages of training: pretraining and unlearning. Each can be killed and started again."""

import contextlib
import importlib.metadata
import itertools
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import salmu_jax
from salmu_jax import train
from salmu_jax.data import pipeline, releases, tokenizers
from salmu_jax.errors import InputError
from salmu_jax.evaluate.imagenet import ZeroShotSet
from salmu_jax.interop import external_models
from salmu_jax.methods import MAKERS, base
from salmu_jax.methods import surrogates as surrogates_lib
from salmu_jax.models import clip
from salmu_jax.runtime import files, hosts, progress, sharding, workdir
from salmu_jax.train import checkpoint, optimizers, writer

PRETRAINED = ("clean", "compromised")
_PRETRAIN_ORDER, _FORGET_ORDER, _RETAIN_ORDER = 1, 2, 3
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
    present = [split for split, rows in self.release.counts.items() if rows]
    return pipeline.training_splits(purpose, present)


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
      seed=_order(config.seed, _PRETRAIN_ORDER),
      area=config.pretrain.crop_area,
      flip=config.pretrain.flip,
    )
    state = train.start_state(params, tx, setup.mesh, layout)
    size, threads = config.pretrain.batch_size, config.reader_threads
    with contextlib.closing(pipeline.start(examples, size, threads=threads)) as batches:
      facts, _ = _train(setup, folder, name, step, state, batches, schedule)
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
    with contextlib.closing(unlearning_batches(setup, run, method.surrogates)) as batches:
      facts, unlearned = _train(setup, folder, name, step, state, batches, schedule)
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
  """Batches {"forget": half, "retain": half}; their order is the same for every method.

  A half that the release has no rows for is left out.

  Args:
    surrogates: `Method.surrogates`, for the forget half.
  """
  made_up = made_up_captions(setup, surrogates)
  halves = {
    half: pipeline.training_examples(
      pipeline.open_training(setup.records, half, setup.splits(half)),
      setup.tokenizer,
      image_size=setup.model.sizes.image_size,
      seed=_order(setup.config.seed, order),
      texts=("text", "generic") if half == "forget" else ("text",),
      **(made_up if half == "forget" else {}),
    )
    for half, order in (("forget", _FORGET_ORDER), ("retain", _RETAIN_ORDER))
    if setup.splits(half)
  }
  threads = setup.config.reader_threads
  return pipeline.start(pipeline.side_by_side(halves), run.batch_size, threads=threads)


def made_up_captions(setup, wanted):
  """What `pipeline.training_examples` makes surrogates and rewordings with; nothing where none are
  wanted.

  Args:
    wanted: `Method.surrogates`.

  Raises:
    InputError: see `surrogates.maker`.
  """
  if wanted is None:
    return {}
  rows = pipeline.open_training(setup.records, "forget", setup.splits("forget"))
  known = surrogates_lib.leaks(setup.release, (rows[i] for i in range(len(rows))))
  maker = surrogates_lib.maker(known.values(), wanted.source, setup.config.seed, wanted.reworded)
  leak_of = lambda row: known[row["file_name"].decode()]
  return {
    "surrogates": lambda row, rng: maker.near(leak_of(row), wanted.count, rng),
    "said": lambda row, rng: maker.said(leak_of(row), rng),
  }


def _prepared(setup, name, method, state, params, layout):
  """The state after `method.prepares`, each of which sees one pass over forget."""
  run = setup.config.unlearn[name]
  jitted = train.jitted_gradients(
    setup.model, method, setup.mesh, layout=layout, accumulate=setup.config.accumulate
  )
  steps = max(1, setup.release.counts["forget"] // run.batch_size)

  def gradients():
    with (
      contextlib.closing(unlearning_batches(setup, run, method.surrogates)) as batches,
      progress.counting(f"measuring for {name}", steps) as tick,
    ):
      for batch in itertools.islice(batches, steps):
        yield jitted(params, sharding.put_batch(batch, setup.mesh))
        tick()

  return train.prepared(state, method, gradients, setup.mesh, layout)


def _train(setup, folder, label, step, state, batches, schedule):
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
      batches,
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


def _order(seed, stream):
  """A seed for one stream of rows."""
  return int(np.random.default_rng([seed, stream]).integers(2**31))
