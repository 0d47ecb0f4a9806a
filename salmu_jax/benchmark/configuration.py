"""Checks a whole config before anything is computed: each section by the module that owns it."""

import functools
import importlib.util

from jax.sharding import Mesh
from ml_collections import ConfigDict

from salmu_jax import attacks, defaults, fields
from salmu_jax.data import imagenet
from salmu_jax.errors import InputError
from salmu_jax.evaluate import settings as evaluate_settings
from salmu_jax.generate import plan
from salmu_jax.interop import external_models
from salmu_jax.methods import runs
from salmu_jax.models import presets
from salmu_jax.runtime import compilations, sharding
from salmu_jax.train import settings as train_settings


def check(config: ConfigDict, mesh: Mesh) -> None:
  """Raises InputError for the first field that is unknown, of a wrong type or impossible.

  Args:
    config: as the user gave it, to be held against `salmu_jax/defaults.py`.
    mesh: the devices that the config is to run on.
  """
  schema, run_schema = defaults.get_config(), defaults.unlearning_run()
  _check_fields(config, schema)
  check_batch = functools.partial(sharding.check_batch, mesh, accumulate=config.accumulate)
  if not config.model.preset and not config.init.compromised:
    raise InputError(
      "config.model.preset is empty, which means that of the weights in config.init.compromised, "
      f"and that is empty too. Name a preset: {', '.join(presets.PRESETS)}."
    )
  presets.check(config.model, mesh.devices.flat[0].platform)
  train_settings.check_accumulate(config.accumulate)
  sharding.check_rules(config.sharding)
  train_settings.check_pretraining(config.pretrain, config.model.logit_bias, check_batch)
  evaluate_settings.check(config.evaluate, functools.partial(sharding.check_batch, mesh))
  fields.check_positive(config, "config", "reader_threads")
  fields.check_not_negative(config, "config", "stored_pictures")
  compilations.check(config.compilation_cache)
  if config.wandb_project and importlib.util.find_spec("wandb") is None:
    raise InputError(
      f"config.wandb_project = {config.wandb_project!r} needs the package wandb: pip install wandb."
    )
  fields.check_share(config.diagnosis, "config.diagnosis", *config.diagnosis)
  fields.check_seed("config.seed", config.seed)
  _check_own(config)
  if not config.release:
    plan.check(config.generate)
  if config.imagenet:
    imagenet.check_address(config.imagenet)
  attacks.check(config.attacks, check_batch)
  runs.check_method(config.method, list(config.unlearn), schema.method)
  external_models.check_judged(config)
  if config.training_release and not config.release:
    raise InputError(
      "config.training_release goes with config.release, which is empty: a generated release has "
      "its own splits to train on."
    )
  for name, run in config.unlearn.items():
    runs.check(f"config.unlearn.{name}", name, run, run_schema, check_batch)
  runs.check_composed(config.method, schema.method, run_schema, check_batch)


def chosen(config: ConfigDict) -> ConfigDict:
  """The config with just the runs that config.method asks for: all, one, none, or a composed one.

  Args:
    config: one that has passed `check`.
  """
  name = config.method.get("name", "")
  composed = runs.composed(config.method, defaults.get_config().method)
  if not name and not composed:
    return config
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.unlearn = composed or {k: run for k, run in config.unlearn.items() if k == name}
  return config


def _check_fields(config: ConfigDict, schema: ConfigDict) -> None:
  """Fields and types of all sections but `unlearn` and `method`, which `runs` checks."""
  rest = lambda sections: {k: v for k, v in sections.items() if k not in ("unlearn", "method")}
  fields.check_same(rest(config), rest(schema), "config")


def _check_own(config: ConfigDict) -> None:
  """Raises InputError where own pairs lack something, or stand beside another release."""
  if bool(config.forget) != bool(config.retain):
    raise InputError(
      f"config.forget = {config.forget!r} and config.retain = {config.retain!r} go together: your "
      "pairs to forget, and pairs to keep."
    )
  if not config.forget:
    return
  if not config.init.compromised:
    raise InputError(
      "config.init.compromised is empty; with config.forget it names your model: a folder or a "
      "file of weights, or hub:OWNER/NAME@REVISION."
    )
  others = {name: config[name] for name in ("release", "training_release")}
  others |= {"init.clean": config.init.clean, "judge.name": config.judge.name}
  for name, value in others.items():
    if value:
      raise InputError(
        f"config.{name} = {value!r} belongs to a benchmark run; with config.forget there is no "
        "Clean and no leaderboard. Leave it empty."
      )
