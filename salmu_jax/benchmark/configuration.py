"""Checks a config against the schema (`salmu_jax/defaults.py`) before anything is computed."""

import functools
import inspect
import math
import numbers

import optax
from ml_collections import ConfigDict

from salmu_jax import errors, train
from salmu_jax.attacks.attacker import ATTACKS
from salmu_jax.errors import InputError
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.evaluator import CANDIDATES
from salmu_jax.generate import plan
from salmu_jax.methods import MAKERS, base, compose, parts
from salmu_jax.models import clip
from salmu_jax.models.presets import PRESETS
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers

# Scikit-learn's for logistic regression, without those that draw at random.
SOLVERS = ("lbfgs", "liblinear", "newton-cg", "newton-cholesky")
NO_METHOD = "none"  # of config.method.name


def check(config, schema, run_schema, mesh):
  """Raises InputError for the first field that is unknown, of a wrong type or impossible.

  Args:
    config: what the user gave.
    schema: `salmu_jax.defaults.get_config()`; run_schema: `salmu_jax.defaults.unlearning_run()`.
    mesh: the devices it is to run on.
  """
  own = ("unlearn", "method")  # have rules of their own, below
  rest = {name: value for name, value in config.items() if name not in own}
  _same_fields(rest, {k: v for k, v in schema.items() if k not in own}, "config")
  _known("config.model.preset", config.model.preset, PRESETS)
  for section in ("model", "evaluate"):
    dtype = config[section].compute_dtype
    _known(f"config.{section}.compute_dtype", dtype, ("float32", "bfloat16"))
  _check_scale(config)
  check_batch = functools.partial(sharding.check_batch, mesh, accumulate=config.accumulate)
  check_batch("pretrain.batch_size", config.pretrain.batch_size)
  sharding.check_batch(mesh, "evaluate.batch_size", config.evaluate.batch_size)
  _optimizer("config.pretrain.optimizer", config.pretrain.optimizer)
  _positive(config.pretrain, "config.pretrain", "epochs", "log_every", "checkpoint_every")
  _logs_before_saving("config.pretrain", config.pretrain)
  _shares(config.pretrain, "config.pretrain", "crop_area", "flip")
  _positive(config.pretrain, "config.pretrain", "crop_area")
  _positive(config.evaluate, "config.evaluate", "gallery")
  _positive(config, "config", "reader_threads")
  _shares(config.diagnosis, "config.diagnosis", *config.diagnosis)
  for name, seed in (("seed", config.seed), ("evaluate.seed", config.evaluate.seed)):
    if not 0 <= seed < 2**32:
      raise InputError(f"config.{name} = {seed}; it must be 0 or more, and less than 2**32.")
  if not config.release:
    plan.check(config.generate)
  _check_evaluation(config)
  _check_attacks(config.attacks, check_batch)
  _check_method(config, schema)
  _check_judged(config)
  if config.training_release and not config.release:
    raise InputError(
      "config.training_release goes with config.release, which is empty: a generated release has "
      "its own splits to train on."
    )
  for name, run in config.unlearn.items():
    _check_run(f"config.unlearn.{name}", name, run, run_schema, check_batch)
    _check_makeable(f"config.unlearn.{name}.args", run)
  for name, run in _composed(config, schema).items():
    _check_makeable("config.method", run)
    _check_model_name("config.method.name", name)
    _check_run("config.method.run", name, run, run_schema, check_batch)


def chosen(config, schema):
  """The config with just the runs that config.method asks for: all, one, none, or a composed one.

  Args:
    config: that `check` has found right.
    schema: `salmu_jax.defaults.get_config()`, for what config.method leaves out.
  """
  name = config.method.get("name", "")
  composed = _composed(config, schema)
  if not name and not composed:
    return config
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.unlearn = composed or {k: run for k, run in config.unlearn.items() if k == name}
  return config


def _composed(config, schema):
  """{name: run} of the method that config.method composes; empty where it composes none."""
  asked = {k: config.method.get(k, schema.method[k]) for k in schema.method}
  if not asked["loss"]:
    return {}
  run = schema.method.run.copy_and_resolve_references()
  with run.unlocked():
    run.update(asked["run"])
    run.method = "compose"
    run.args = ConfigDict({k: asked[k] for k in ("loss", "retain_loss", "chain")})
  return {asked["name"] or compose.label(asked["loss"], asked["chain"]): run}


def _check_method(config, schema):
  # A loss may be a pair; what is given of `run` is checked once it is completed.
  asked = {k: v for k, v in config.method.items() if k not in ("loss", "run")}
  _same_fields(asked, schema.method, "config.method", optional=tuple(schema.method))
  if not isinstance(config.method.get("run", schema.method.run), ConfigDict):
    raise InputError(f"config.method.run is {config.method.run!r}; it must hold fields of a run.")
  name, loss = config.method.get("name", ""), config.method.get("loss", "")
  if loss:
    _check_composed_fields(name, config)
    return
  # As plain dicts: a locked ConfigDict, as flags make it, equals no other.
  usual = schema.method.to_dict()
  given = [k for k, v in config.method.to_dict().items() if k != "name" and v != usual[k]]
  if given:
    raise InputError(
      f"config.method.{given[0]} is of a composed method, and config.method.loss names none. Known "
      f"losses: {', '.join(parts.FORGET_LOSSES)}. A run of config.unlearn has fields of its own."
    )
  if name:
    _known("config.method.name", name, (*config.unlearn, NO_METHOD))


def _check_composed_fields(name, config):
  if name in (NO_METHOD, *config.unlearn, *MAKERS):
    raise InputError(
      f"config.method.name = {name!r} is taken, so it cannot name the method that "
      "config.method.loss composes. Choose another, or leave it empty."
    )
  run = config.method.get("run", {})
  if run.get("method", "compose") != "compose" or run.get("args"):
    raise InputError(
      "config.method.run.method and .args follow from config.method.loss and .chain; leave them as "
      "they are."
    )
  try:
    compose.label(config.method.loss, config.method.get("chain", ()))
  except InputError as error:
    raise InputError(f"config.method.{error}") from error


def _check_judged(config):
  name, weights = config.judge.name, config.judge.weights
  if bool(name) != bool(weights):
    raise InputError(
      f"config.judge.name = {name!r} and config.judge.weights = {weights!r} go together: the row "
      "of the leaderboard, and where its weights are."
    )
  if name in config.unlearn:
    raise InputError(f"config.judge.name = {name!r} is a run of config.unlearn. Choose another.")
  if name:
    _check_model_name("config.judge.name", name)


def _check_model_name(where, name):
  if not name.replace("_", "").replace("-", "").isalnum() or name in ("clean", "compromised"):
    raise InputError(
      f"{where}: {name!r} becomes a folder, so it is of letters, digits, '-' and '_', and not "
      "'clean' or 'compromised'."
    )


def _check_evaluation(config):
  probe = config.evaluate.probe
  _known("config.evaluate.probe.feature", probe.feature, metrics.FEATURES)
  _known("config.evaluate.probe.solver", probe.solver, SOLVERS)
  _positive(probe, "config.evaluate.probe", "c", "max_iter")
  _known("config.evaluate.name_candidates", config.evaluate.name_candidates, CANDIDATES)
  if not _takes_a_name(config.evaluate.name_prompt):
    raise InputError(
      f"config.evaluate.name_prompt = {config.evaluate.name_prompt!r} must hold one {{}}, where "
      "the name of the person goes, and no other braces."
    )


def _check_attacks(attacks, check_batch):
  for name in attacks.names:
    _known("config.attacks.names", name, ATTACKS)
  number = lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool)
  if not attacks.shares or not all(number(each) and 0 < each < 1 for each in attacks.shares):
    raise InputError(
      f"config.attacks.shares = {attacks.shares!r}; give shares of forget, each between 0 and 1."
    )
  if not attacks.steps or not all(isinstance(n, int) and n > 0 for n in attacks.steps):
    raise InputError(
      f"config.attacks.steps = {attacks.steps!r}; give numbers of steps, each 1 or more."
    )
  _positive(attacks, "config.attacks", "learning_rate", "rows", "people")
  if attacks.batch_size < 2:
    raise InputError(
      f"config.attacks.batch_size = {attacks.batch_size}; it must be 2 or more: pairs are learnt "
      "from one another."
    )
  check_batch("attacks.batch_size", attacks.batch_size)


def _takes_a_name(prompt):
  return prompt.count("{}") == 1 and not set("{}") & set(prompt.replace("{}", ""))


def _check_scale(config):
  _known("config.model.remat", config.model.remat, clip.REMAT)
  _known("config.pretrain.loss", config.pretrain.loss, train.OBJECTIVES)
  if "sigmoid" in config.pretrain.loss and not config.model.logit_bias:
    raise InputError(
      f"config.pretrain.loss = {config.pretrain.loss!r} needs a bias of logits; set "
      "config.model.logit_bias = True."
    )
  if config.accumulate < 1:
    raise InputError(
      f"config.accumulate = {config.accumulate}; it is a number of parts, 1 or more."
    )
  _check_sharding(config.sharding)


def _check_sharding(rules):
  for rule in rules:
    if not (
      isinstance(rule, (tuple, list))
      and len(rule) == 2
      and isinstance(rule[0], str)
      and isinstance(rule[1], (tuple, list))
    ):
      raise InputError(
        f"config.sharding holds {rule!r}; a rule is (regex, axes), such as ('kernel$', ('data',))."
      )


def _check_run(where, name, run, schema, check_batch):
  if not isinstance(run, ConfigDict):
    raise InputError(f"{where} is {run!r}; it must be a dict as salmu_jax/defaults.py describes.")
  _check_model_name(where, name)
  _same_fields({k: v for k, v in run.items() if k != "args"}, schema, where, optional=("args",))
  _known(f"{where}.method", run.method, MAKERS)
  known = base.arguments(MAKERS[run.method])
  if not isinstance(run.get("args"), ConfigDict):
    raise InputError(f"{where}.args must be a dict of the method's arguments; it may be empty.")
  for argument in run.args:
    _known(f"{where}.args", argument, known)
  _positive(run, where, "budget", "log_every", "checkpoint_every")
  check_batch(f"{where.removeprefix('config.')}.batch_size", run.batch_size)
  if run.batch_size < 2:
    raise InputError(
      f"{where}.batch_size = 1; losses compare the pairs of a batch, so it is 2 or more."
    )
  _optimizer(f"{where}.optimizer", run.optimizer)
  _logs_before_saving(where, run)


def _check_makeable(where, run):
  """Makes the method, for a run of any length, so that its own checks come before all else."""
  needed = inspect.signature(MAKERS[run.method]).parameters.values()
  for argument in needed:
    if argument.default is argument.empty and argument.name in base.arguments(MAKERS[run.method]):
      if argument.name not in run.args:
        raise InputError(f"{where} lacks {argument.name!r}, which the method {run.method} needs.")
  try:
    base.build(MAKERS[run.method], optax.identity(), run.args.to_dict(), steps=10**6, seed=0)
  except InputError as error:
    raise InputError(f"{where}.{error}") from error


def _same_fields(given, schema, where, optional=()):
  """Fields and types as in the schema, all the way down."""
  for name, value in given.items():
    _known(where, name, list(schema))
    expected = schema[name]
    here = f"{where}.{name}"
    if isinstance(expected, ConfigDict):
      if not isinstance(value, ConfigDict):
        raise InputError(f"{here} is {value!r}; it must hold the fields {', '.join(expected)}.")
      _same_fields(value, expected, here)
    elif not _same_type(value, expected):
      raise InputError(
        f"{here} is {value!r}, a {type(value).__name__}; it must be a {type(expected).__name__}, "
        f"such as {expected!r}."
      )
  lacking = [name for name in schema if name not in given and name not in optional]
  if lacking:
    raise InputError(f"{where} lacks the field {lacking[0]!r}; see salmu_jax/defaults.py.")


def _same_type(value, expected):
  if isinstance(expected, bool) or isinstance(value, bool):
    return isinstance(expected, bool) and isinstance(value, bool)
  if isinstance(expected, float):
    return isinstance(value, numbers.Real)
  return isinstance(value, type(expected))


def _known(where, name, known):
  if name not in known:
    raise InputError(errors.unknown(where, name, list(known)))


def _positive(section, where, *names):
  for name in names:
    if not 0 < section[name] < math.inf:
      raise InputError(f"{where}.{name} = {section[name]!r}; it must be more than 0, and finite.")


def _optimizer(where, settings):
  _known(f"{where}.name", settings.name, optimizers.OPTIMIZERS)
  _positive(settings, where, "learning_rate", "eps")
  _shares(settings, where, "warmup", "end", "b1", "b2")
  for name in ("b1", "b2"):
    if settings[name] == 1:
      raise InputError(f"{where}.{name} = 1; nothing new would ever count. It must be less than 1.")
  if not 0 <= settings.weight_decay < math.inf:
    raise InputError(
      f"{where}.weight_decay = {settings.weight_decay!r}; it must be 0 or more, and finite."
    )


def _shares(section, where, *names):
  for name in names:
    if not 0 <= section[name] <= 1:
      raise InputError(f"{where}.{name} = {section[name]!r}; it is a share, from 0 to 1.")


def _logs_before_saving(where, section):
  # Metrics are tested for NaN when they are logged, so a save between two logs could keep a NaN.
  if section.checkpoint_every % section.log_every:
    raise InputError(
      f"{where}.checkpoint_every = {section.checkpoint_every} is not a multiple of log_every = "
      f"{section.log_every}: a checkpoint is written only after its metrics were seen to be finite."
    )
