"""Checks a whole config before anything is computed: each section by the module that owns it."""

import functools
import importlib.util
import pathlib
from collections.abc import Callable, Iterator

from jax.sharding import Mesh
from ml_collections import ConfigDict

from salmu_jax import attacks, defaults, errors, fields
from salmu_jax.data import imagenet
from salmu_jax.errors import InputError
from salmu_jax.evaluate import settings as evaluate_settings
from salmu_jax.generate import plan
from salmu_jax.interop import external_models
from salmu_jax.methods import runs
from salmu_jax.models import presets
from salmu_jax.ranges import Range, Text, Whole
from salmu_jax.runtime import compilations, places, sharding
from salmu_jax.train import settings as train_settings

CheckBatch = Callable[[str, int], None]  # see `sharding.check_batch`
_SHARE = Range(0, 1)
_OF_RUNS = ("unlearn", "method")  # sections that `methods.runs` checks
_PLACES = ("release", "training_release", "retain_pairs", "forget", "retain", "imagenet", "scratch")
# Valid values of config fields, by section; those of runs are in `methods.runs.RANGES`.
RANGES = {
  "seed": Whole(0, 2**32 - 1),  # as numpy's generators take
  **dict.fromkeys(_PLACES, Text()),
  "wandb_project": Text(),
  "reader_threads": Whole(1, 1024),
  "stored_pictures": Range(0, 10**6),
  "compilation_cache": Text(),
  "accumulate": train_settings.ACCUMULATE,
  "generate": plan.RANGES,
  "model": presets.RANGES,
  "init": {"clean": Text(), "compromised": Text()},
  "pretrain": train_settings.PRETRAIN,
  "judge": {"name": Text(), "weights": Text()},
  "evaluate": evaluate_settings.RANGES,
  "attacks": attacks.ranges(),
  "diagnosis": {"leak_removed": _SHARE, "knowledge_kept": _SHARE, "holdout_kept": _SHARE},
}


def check(config: ConfigDict, mesh: Mesh) -> None:
  """Raises one InputError that lists all unknown, mistyped and impossible fields of a config.

  Args:
    config: from the user; checked against `salmu_jax/defaults.py`.
    mesh: the devices to run on.
  """
  schema = defaults.get_config()
  check_batch = functools.partial(sharding.check_batch, mesh, accumulate=config.get("accumulate"))
  faults = _field_faults(config, schema)
  # Rules between fields assume that each field is valid.
  if not faults:
    faults = errors.found(_rules(config, mesh, check_batch))
    faults += errors.found(_run_rules(config, schema, check_batch))
  elif all(isinstance(config.get(name), ConfigDict) for name in _OF_RUNS):
    faults += errors.found(_run_rules(config, schema, lambda field, size: None))
  if not faults:  # an invalid method has no name
    faults = errors.found([lambda: _check_names(config)])
  if faults:
    raise InputError(errors.listed(faults, "the config"))


def _field_faults(config: ConfigDict, schema: ConfigDict) -> list[str]:
  """The faults in the fields of all sections except `unlearn` and `method`."""
  rest = lambda sections: {k: v for k, v in sections.items() if k not in _OF_RUNS}
  faults = fields.faults(rest(config), rest(schema), RANGES, "config")
  for name in _OF_RUNS:
    if not isinstance(config.get(name), ConfigDict):
      faults.append(f"config.{name} is {config.get(name)!r}; it must be a section (may be empty).")
  return faults


def _rules(
  config: ConfigDict, mesh: Mesh, check_batch: CheckBatch
) -> Iterator[Callable[[], object]]:
  """Checks beyond the ranges of single fields; each raises InputError."""
  platform = mesh.devices.flat[0].platform
  yield lambda: _check_preset(config)
  yield lambda: presets.check(config.model, platform)
  yield lambda: sharding.check_rules(config.sharding)
  yield lambda: train_settings.check_pretraining(
    config.pretrain, config.model.logit_bias, check_batch
  )
  yield lambda: evaluate_settings.check(
    config.evaluate, functools.partial(sharding.check_batch, mesh)
  )
  yield lambda: compilations.check(config.compilation_cache)
  yield lambda: config.scratch and places.scratch(pathlib.Path(), config.scratch)
  yield lambda: _check_wandb(config.wandb_project)
  yield lambda: _check_own(config)
  yield lambda: config.release or plan.check(config.generate)
  yield lambda: config.imagenet and imagenet.check_address(config.imagenet)
  yield lambda: attacks.check(config.attacks, check_batch)
  yield lambda: external_models.check_judged(config)
  yield lambda: _check_training_release(config)


def _run_rules(
  config: ConfigDict, schema: ConfigDict, check_batch: CheckBatch
) -> Iterator[Callable[[], object]]:
  """Checks of the runs in `unlearn` and of `method`; each raises InputError."""
  run_schema = defaults.unlearning_run()
  for name, run in config.unlearn.items():
    where = f"config.unlearn.{name}"
    yield functools.partial(runs.check, where, name, run, run_schema, check_batch)
  yield lambda: runs.check_method(
    config.method, list(config.unlearn), schema.method, run_schema, check_batch
  )


def _check_preset(config):
  if not config.model.preset and not config.init.compromised:
    raise InputError(
      "config.model.preset is empty, and so is config.init.compromised, whose weights would set "
      f"the preset. Name a preset: {', '.join(presets.PRESETS)}."
    )


def _check_wandb(project):
  if project and importlib.util.find_spec("wandb") is None:
    raise InputError(
      f"config.wandb_project = {project!r} needs the package wandb: pip install wandb."
    )


def _check_training_release(config):
  if config.training_release and not config.release:
    raise InputError(
      "config.training_release needs config.release, which is empty. A generated release has its "
      "own training splits."
    )


def _check_names(config: ConfigDict) -> None:
  """Raises InputError where two models of a run share a name, ignoring case."""
  composed = runs.composed(config.method, defaults.get_config().method)
  named = [
    *((name, f"config.unlearn.{name}") for name in config.unlearn),
    *((name, "the method that config.method composes") for name in composed),
    *([(config.judge.name, "config.judge.name")] if config.judge.name else []),
  ]
  where = {}
  for name, field in named:
    other = where.setdefault(name.casefold(), field)
    if other != field:
      raise InputError(
        f"{other} and {field} are both called {name!r} on file systems that ignore case. Rename "
        "one of them."
      )


def chosen(config: ConfigDict) -> ConfigDict:
  """The config with only the runs that config.method selects: all, one, none, or a composed one.

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


def _check_own(config: ConfigDict) -> None:
  """Raises InputError where own pairs lack a field, or come with a field of benchmark runs."""
  if bool(config.forget) != bool(config.retain):
    raise InputError(
      f"config.forget = {config.forget!r} and config.retain = {config.retain!r}; set both or "
      "neither. They name your pairs to forget and your pairs to keep."
    )
  if not config.forget:
    return
  if not config.init.compromised:
    raise InputError(
      "config.init.compromised is empty; with config.forget it must name your model: a folder or "
      "file of weights, or hub:OWNER/NAME@REVISION."
    )
  others = {name: config[name] for name in ("release", "training_release")}
  others |= {"init.clean": config.init.clean, "judge.name": config.judge.name}
  for name, value in others.items():
    if value:
      raise InputError(
        f"config.{name} = {value!r} is for benchmark runs; a run with config.forget has no Clean "
        "and no leaderboard. Leave it empty."
      )
