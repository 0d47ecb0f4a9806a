"""The long stages: pretraining, unlearning, evaluation. Each can be killed and started again."""

import importlib.metadata
import pathlib
import time
from typing import NamedTuple

import jax
import numpy as np
from clu import parameter_overview
from ml_collections import ConfigDict

import salmu_jax
from salmu_jax import checkpoint, files, progress, train, workdir, writer
from salmu_jax import mesh as mesh_lib
from salmu_jax.data import pipeline
from salmu_jax.data import release as release_lib
from salmu_jax.data import tokenizer as tokenizer_lib
from salmu_jax.errors import InputError
from salmu_jax.evaluate.evaluator import Evaluator
from salmu_jax.methods import METHODS
from salmu_jax.models import clip

# Splits that each pretrained model sees.
PRETRAINED = {name: pipeline.READABLE[name] for name in ("clean", "compromised")}
_PRETRAIN_ORDER, _FORGET_ORDER, _RETAIN_ORDER = 1, 2, 3
_TRAINING_FACTS = ("reads", "moves", "steps", "wall_seconds", "device", "versions")
_VERSIONS = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scikit-learn")


class Setup(NamedTuple):
  """What every stage works with."""

  config: ConfigDict
  folder: pathlib.Path
  mesh: jax.sharding.Mesh
  release: release_lib.Release
  records: dict
  tokenizer: tokenizer_lib.Tokenizer
  model: clip.CLIP

  def model_folder(self, name):
    """Where a model's checkpoints, metrics and weights are."""
    given = self.config.init.get(name, "")
    return pathlib.Path(given).expanduser() if given else self.folder / "models" / name


def pretrain_schedule(setup, name):
  """Steps of Clean or Compromised: `epochs` passes over what the model sees.

  Both see every retain row equally often; Compromised takes the steps for `sensitive` on top.
  """
  settings, counts = setup.config.pretrain, setup.release.counts
  rows = sum(counts[split] for split in PRETRAINED[name])
  total = max(1, round(settings.epochs * rows / settings.batch_size))
  return train.Schedule(total, settings.log_every, settings.checkpoint_every)


def unlearn_schedule(setup, name):
  """Steps of a run: `budget` passes over forget."""
  run, rows = setup.config.unlearn[name], setup.release.counts["forget"]
  total = max(1, round(run.budget * rows / run.batch_size))
  return train.Schedule(total, run.log_every, run.checkpoint_every)


def pretrain_settings(setup):
  """All that a pretrained model depends on."""
  config = setup.config
  return {
    "seed": config.seed,
    "release": setup.release.digest,
    "model": config.model.to_dict(),
    "pretrain": config.pretrain.to_dict(),
  }


def start_digest(setup, name="compromised"):
  """Names a pretrained model by the settings that it was made with, here or elsewhere."""
  if setup.config.init[name]:
    return files.digest(files.read_json(setup.model_folder(name) / workdir.SETTINGS))
  return files.digest(pretrain_settings(setup))


def unlearn_settings(setup, name):
  """All that an unlearned model depends on."""
  return {
    "seed": setup.config.seed,
    "start": start_digest(setup),
    "release": setup.release.digest,
    "model": setup.config.model.to_dict(),
    **setup.config.unlearn[name].to_dict(),
  }


def pretrain(setup, name):
  """Trains Clean or Compromised from scratch, or loads it; returns its parameters.

  Both start from the same weights and share the schedule in epochs; Compromised sees `sensitive` among
  its rows (protocol section 1).
  """
  if setup.config.init[name]:
    return given_params(setup, name)
  config, schedule = setup.config, pretrain_schedule(setup, name)

  def work(folder):
    tx = train.make_optimizer(config.pretrain.optimizer, schedule.total_steps)
    params = train.init_params(setup.model, config.seed, setup.mesh)
    batches = pipeline.training_batches(
      pipeline.open_training(setup.records, name, PRETRAINED[name]),
      setup.tokenizer,
      image_size=setup.model.sizes.image_size,
      batch_size=config.pretrain.batch_size,
      seed=_order(config.seed, _PRETRAIN_ORDER),
      area=config.pretrain.crop_area,
      flip=config.pretrain.flip,
    )
    step = train.jitted_pretrain_step(setup.model, tx, setup.mesh)
    state = train.start_state(params, tx, setup.mesh)
    facts = _train(setup, folder, name, step, state, batches, schedule)
    return {**facts, "reads": list(PRETRAINED[name])}

  folder = setup.model_folder(name)
  workdir.run_stage(folder, f"pretrain {name}", pretrain_settings(setup), work)
  return load_params(setup, folder)


def make_method(setup, name):
  """The Method of an unlearning run, with its optimizer."""
  run = setup.config.unlearn[name]
  optimizer = train.make_optimizer(run.optimizer, unlearn_schedule(setup, name).total_steps)
  return METHODS[run.method](optimizer, **run.args.to_dict())


def unlearn(setup, name, compromised):
  """Runs one unlearning run from the Compromised parameters; returns the unlearned ones.

  Reads forget and retain alone.
  """
  config, schedule = setup.config, unlearn_schedule(setup, name)
  run = config.unlearn[name]

  def work(folder):
    method = make_method(setup, name)
    state = train.start_state(compromised, method.tx, setup.mesh)
    batches = _unlearning_batches(setup, run)
    if method.prepare:
      state = state.replace(opt_state=_prepared(setup, run, method, state, compromised, batches))
    jitted = train.jitted_unlearn_step(setup.model, method, setup.mesh)
    step = lambda state, batch: jitted(state, compromised, batch)
    facts = _train(setup, folder, name, step, state, batches, schedule)
    return {**facts, "reads": list(method.reads)}

  folder = setup.model_folder(name)
  workdir.run_stage(folder, f"unlearn {name}", unlearn_settings(setup, name), work)
  return load_params(setup, folder)


def make_evaluator(setup):
  """The one evaluator that judges every model."""
  return Evaluator(
    setup.model,
    setup.release,
    setup.records,
    setup.tokenizer,
    setup.config.evaluate,
    setup.mesh,
    threads=setup.config.reader_threads,
  )


def store_fragile_set(setup, evaluator, compromised):
  """Completes a release that has no fragile set yet, as Compromised judges it (protocol: Data)."""
  if release_lib.read_fragile(setup.release) is None:
    split, mask = evaluator.derived()["retain_disjoint"]
    names = release_lib.columns(setup.release, split)["file_name"]
    cosines = evaluator.similarities(compromised, split)
    release_lib.write_fragile(setup.release, names[mask], cosines[mask])


def is_evaluated(setup, name):
  """Whether results/<name>.json is there.

  Raises:
    InputError: it is, but was made with another config.
  """
  path = _result_path(setup, name)
  if not path.exists():
    return False
  if files.read_json(path).get("salmu_jax", {}).get("inputs") != result_inputs(setup, name):
    raise InputError(
      f"{path} was made with another config. Choose another --workdir, or delete that file to have "
      "the model evaluated again."
    )
  return True


def evaluate(setup, evaluator, name, params):
  """Writes results/<name>.json unless it is there."""
  if is_evaluated(setup, name):
    return
  began = time.monotonic()
  results = evaluator.run(params, f"evaluate {name}")
  about = _provenance(setup, evaluator, name)
  about |= {
    "inputs": result_inputs(setup, name),
    "evaluation_seconds": time.monotonic() - began,
  }
  files.write_json(_result_path(setup, name), {**results, "salmu_jax": about})
  progress.console.print(f"evaluate {name}: {workdir.minutes(time.monotonic() - began)}")


def _result_path(setup, name):
  return setup.folder / "results" / f"{name}.json"


def result_inputs(setup, name):
  """A digest of all that a model's results depend on."""
  made = pretrain_settings(setup) if name in PRETRAINED else unlearn_settings(setup, name)
  return files.digest([made, setup.config.init.to_dict(), setup.config.evaluate.to_dict()])


def load_params(setup, folder):
  """The weights of a finished model, on the mesh."""
  like = jax.eval_shape(lambda: clip.init(setup.model, 0))
  whole = mesh_lib.replicated(setup.mesh)
  like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), like)
  return checkpoint.load_params(folder / "params", like)


def given_params(setup, name):
  """The weights that config.init names.

  Raises:
    InputError: no finished model there, another vocabulary or another architecture.
  """
  folder = setup.model_folder(name)
  if not (folder / workdir.DONE).exists():
    raise InputError(
      f"config.init.{name} = {str(folder)!r} is no finished model: it has no {workdir.DONE}. Name a "
      "folder such as WORKDIR/models/clean of a run that ended."
    )
  theirs = folder / "tokenizer.json"
  if not theirs.exists() or tokenizer_lib.load(theirs).kept != setup.tokenizer.kept:
    raise InputError(
      f"config.init.{name} = {str(folder)!r} has no tokenizer.json, or another vocabulary than this "
      "release gives: its weights would read other words. Use the release that it was trained on."
    )
  return load_params(setup, folder)


def _unlearning_batches(setup, run):
  """{"forget": half, "retain": half}; the order is the same for every method of a batch size."""
  halves = {
    half: pipeline.training_batches(
      pipeline.open_training(setup.records, half, pipeline.READABLE[half]),
      setup.tokenizer,
      image_size=setup.model.sizes.image_size,
      batch_size=run.batch_size,
      seed=_order(setup.config.seed, order),
      texts=("text", "generic") if half == "forget" else ("text",),
    )
    for half, order in (("forget", _FORGET_ORDER), ("retain", _RETAIN_ORDER))
  }
  return pipeline.side_by_side(halves)


def _prepared(setup, run, method, state, params, batches):
  """The optimizer's state after `method.prepare`, from one pass over forget."""
  jitted = train.jitted_gradients(setup.model, method, setup.mesh)

  def gradients():
    for number in range(setup.release.counts["forget"] // run.batch_size):
      yield jitted(params, mesh_lib.put_batch(batches[number], setup.mesh))

  return method.prepare(state.opt_state, gradients)


def _train(setup, folder, label, step, state, batches, schedule):
  """Runs the loop with its checkpoints, log and bar; leaves `params`, and returns facts."""
  size = sum(x.nbytes for x in jax.tree.leaves(state))
  files.require_space(folder, 4 * size, f"the checkpoints of {label}")
  checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
  log = writer.Writer(folder, setup.config.tensorboard)
  with progress.bar(label, schedule.total_steps) as update:
    state = train.fit(
      step,
      state,
      pipeline.start(batches, threads=setup.config.reader_threads),
      schedule,
      mesh=setup.mesh,
      checkpoints=checkpoints,
      writer=log,
      progress=lambda done, row: update(done, "  ".join(f"{k} {v:.3g}" for k, v in row.items())),
    )
  checkpoints.close()
  log.close()
  tokenizer_lib.save(setup.tokenizer, folder / "tokenizer.json")
  checkpoint.save_params(folder / "params", state.params)
  return {
    "steps": schedule.total_steps,
    "wall_seconds": log.seconds(),
    "device": f"{jax.devices()[0].device_kind} x {setup.mesh.size}",
    "versions": {
      "salmu_jax": salmu_jax.__version__,
      **{package: importlib.metadata.version(package) for package in _VERSIONS},
    },
    "moves": "all parameters",
  }


def _provenance(setup, evaluator, name):
  """What a result says of where it comes from; of training, what the training itself noted."""
  config, release, folder = setup.config, setup.release, setup.model_folder(name)
  facts = files.read_json(folder / workdir.DONE)
  made = files.read_json(folder / workdir.SETTINGS)
  run = None if name in PRETRAINED else config.unlearn[name]
  return {
    "model": name,
    "role": name if run is None else "unlearned",
    "method": None if run is None else run.method,
    "settings": made["pretrain"] if run is None else run.to_dict(),
    "budget": None if run is None else float(run.budget),
    "start": start_digest(setup, name if run is None else "compromised"),
    "seed": made["seed"],
    **{key: facts[key] for key in _TRAINING_FACTS},
    "architecture": config.model.to_dict(),
    "parameters": parameter_count(setup),
    "release": {
      "name": release.manifest["generator"] or release.path.name,
      "manifest_sha256": release.digest,
      "holdout_unit": release.manifest.get("settings", {}).get("holdout_unit", "pair"),
      "retrieval_gallery": evaluator.gallery_size(),
      "fragile_set_sha256": files.digest(release_lib.read_fragile(release)),
      "counts": release.counts,
      "derived": {k: int(m.sum()) for k, (_, m) in evaluator.derived().items()},
    },
    "evaluation": config.evaluate.to_dict(),
    "general_knowledge": _general_knowledge(release),
    "curve": [
      {k: v for k, v in row.items() if k != "seconds"}
      for row in writer.read(folder / "metrics.jsonl")
    ],
  }


def parameter_count(setup):
  """Number of scalars in the model."""
  shapes = jax.eval_shape(lambda: clip.init(setup.model, 0))
  return int(parameter_overview.count_parameters(shapes))


def _general_knowledge(release):
  if release.zero_shot is None:
    return "not measured: the release has no zero-shot split"
  classes, rows = len(release.zero_shot["classes"]), release.counts["zero_shot"]
  return f"generated zero-shot set: {classes} classes x {rows // classes} pictures"


def _order(seed, stream):
  """A seed for one stream of rows."""
  return int(np.random.default_rng([seed, stream]).integers(2**31))
