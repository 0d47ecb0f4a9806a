"""Unlearning runs of a config: those of `config.unlearn`, and the one of `config.method`."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import optax
from ml_collections import ConfigDict

from salmu_jax import errors, fields
from salmu_jax.errors import InputError
from salmu_jax.methods import MAKERS, base, compose, maker, parts
from salmu_jax.ranges import OneOf, Range, Text, Whole
from salmu_jax.runtime import files, workdir
from salmu_jax.train import settings as train_settings

NO_METHOD = "none"  # of config.method.name
# Where the settings of a run come from: the search, the method's authors, or anywhere else.
TUNINGS = ("tuned", "reproduction", "own")
# Ranges of the fields of a run; the method gives those of `args`.
RANGES = {
  "method": Text(),
  "budget": Range(0, 10**5, above=True),
  "batch_size": train_settings.BATCH_SIZE,
  "optimizer": train_settings.OPTIMIZER,
  "log_every": Whole(1),
  "checkpoint_every": Whole(1),
  "tuning": OneOf(TUNINGS),
  "tuning_of": Text(),
}
_CLAIM = ("tuning", "tuning_of")  # the claim itself; no model depends on it
_FREE = ("budget", "log_every", "checkpoint_every")  # may change in a run that stays "tuned"


def check(
  where: str,
  name: str,
  run: ConfigDict,
  schema: ConfigDict,
  check_batch: Callable[[str, int], None],
) -> None:
  """Raises InputError with every fault of a run of `config.unlearn`.

  Args:
    where: the path of the run, such as "config.unlearn.finetune".
    name: of the run.
    schema: a run with its defaults, see `defaults.unlearning_run`.
    check_batch: check_batch(field, batch_size), see `sharding.check_batch`.
  """
  _check_fields(where, name, run, schema, check_batch)
  _check_makeable(f"{where}.args", run)


def check_method(
  method: ConfigDict,
  names: list[str],
  schema: ConfigDict,
  run_schema: ConfigDict,
  check_batch: Callable[[str, int], None],
) -> None:
  """Raises InputError unless `config.method` names a run, composes a possible one, or does neither.

  Args:
    method: `config.method`; it may lack fields.
    names: of the runs of `config.unlearn`.
    schema: `config.method` with its defaults.
    run_schema, check_batch: as `schema` and `check_batch` of `check`.
  """
  _check_choice(method, names, schema)
  for name, run in composed(method, schema).items():
    _check_makeable("config.method", run)
    workdir.check_model_name("config.method.name", name)
    _check_fields("config.method.run", name, run, run_schema, check_batch)


def composed(method: ConfigDict, schema: ConfigDict) -> dict[str, ConfigDict]:
  """{name: run} of the method that `config.method` composes; empty where it composes none.

  Args:
    method: `config.method`; it may lack fields.
    schema: `config.method` with its defaults.
  """
  values = {field: method.get(field, schema[field]) for field in schema}
  if not values["loss"]:
    return {}
  run = schema.run.copy_and_resolve_references()
  with run.unlocked():
    run.update(values["run"])
    run.method = "compose"
    run.args = ConfigDict({field: values[field] for field in ("loss", "retain_loss", "chain")})
    if values["robust"]:
      run.args.robust = values["robust"]
  name = values["name"] or compose.label(values["loss"], values["chain"], values["robust"])
  return {name: run}


def training_settings(run: ConfigDict) -> dict[str, Any]:
  """All fields of a run that its model depends on."""
  return {field: value for field, value in run.to_dict().items() if field not in _CLAIM}


def tuned_digest(run: ConfigDict) -> str:
  """Digest of the settings that `run.tuning` describes: all but the budget and logging."""
  settings = training_settings(run)
  return files.digest({k: value for k, value in settings.items() if k not in _FREE})


def tuning(run: ConfigDict | None) -> str | None:
  """Where the settings of a run come from, one of TUNINGS.

  This is `run.tuning`; but if a flag or another config changed the settings afterwards, it is
  "own".

  Args:
    run: of `config.unlearn`; None for weights from elsewhere, whose settings are unknown: the
      result is None too.
  """
  if run is None:
    return None
  return run.tuning if run.tuning_of == tuned_digest(run) else "own"


def _check_choice(method: ConfigDict, names: list[str], schema: ConfigDict) -> None:
  """Raises InputError for fields of `config.method` that do not go together."""
  # A loss may be a pair. `run` is checked once it is complete.
  plain = {field: value for field, value in method.items() if field not in ("loss", "run")}
  fields.check(plain, schema, {"name": Text()}, "config.method", optional=tuple(schema))
  if not isinstance(method.get("run", schema.run), ConfigDict):
    raise InputError(f"config.method.run is {method.run!r}; it must hold fields of a run.")
  if method.get("loss", ""):
    _check_composition(method, names)
    return
  # Compared as plain dicts: a locked ConfigDict, which flags make, equals no other.
  defaults = schema.to_dict()
  changed = [k for k, v in method.to_dict().items() if k != "name" and v != defaults[k]]
  if changed:
    raise InputError(
      f"config.method.{changed[0]} belongs to a composed method, and config.method.loss is empty. "
      f"Known losses: {', '.join(parts.FORGET_LOSSES)}. A run of config.unlearn has fields of "
      "its own."
    )
  if method.get("name", ""):
    fields.check_name("config.method.name", method.name, (*names, NO_METHOD))


def _check_composition(method: ConfigDict, names: list[str]) -> None:
  name = method.get("name", "")
  if name in (NO_METHOD, *names, *MAKERS):
    raise InputError(
      f"config.method.name = {name!r} is taken, so it cannot name the method that "
      "config.method.loss composes. Choose another, or leave it empty."
    )
  run = method.get("run", {})
  if run.get("method", "compose") != "compose" or run.get("args"):
    raise InputError(
      "config.method.run.method and .args follow from config.method.loss and .chain; leave them as "
      "they are."
    )
  try:
    compose.label(method.loss, method.get("chain", ()), method.get("robust", ()))
  except InputError as error:
    raise InputError(f"config.method.{error}") from error


def _check_fields(
  where: str,
  name: str,
  run: Any,
  schema: ConfigDict,
  check_batch: Callable[[str, int], None],
) -> None:
  if not isinstance(run, ConfigDict):
    raise InputError(f"{where} is {run!r}; it must be a dict as salmu_jax/defaults.py describes.")
  workdir.check_model_name(where, name)
  plain = {field: value for field, value in run.items() if field != "args"}
  fields.check(plain, schema, RANGES, where, optional=("args",))
  make = maker(run.method, f"{where}.method")
  if not isinstance(run.get("args"), ConfigDict):
    raise InputError(f"{where}.args must be a dict of the method's arguments; it may be empty.")
  arguments, batch = base.arguments(make), f"{where.removeprefix('config.')}.batch_size"
  rules = [
    *(functools.partial(fields.check_name, f"{where}.args", name, arguments) for name in run.args),
    lambda: check_batch(batch, run.batch_size),
    lambda: train_settings.check_logging(where, run),
  ]
  errors.refuse(errors.found(rules))


def _check_makeable(where: str, run: ConfigDict) -> None:
  """Makes the method once, so that its own checks run before anything else."""
  make = maker(run.method)
  for parameter in inspect.signature(make).parameters.values():
    required = parameter.default is parameter.empty and parameter.name in base.arguments(make)
    if required and parameter.name not in run.args:
      raise InputError(f"{where} lacks {parameter.name!r}, which the method {run.method} needs.")
  try:
    base.build(make, optax.identity(), run.args.to_dict(), steps=10**6, seed=0)
  except InputError as error:
    raise InputError("\n".join(f"{where}.{line}" for line in str(error).splitlines())) from error
