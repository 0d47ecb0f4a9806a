"""What `config.pretrain`, `config.accumulate` and the settings of an optimizer must be."""

import math
from collections.abc import Callable

from ml_collections import ConfigDict

from salmu_jax import fields, train
from salmu_jax.errors import InputError
from salmu_jax.train import optimizers


def check_pretraining(
  settings: ConfigDict, logit_bias: bool, check_batch: Callable[[str, int], None]
) -> None:
  """Raises InputError for the first impossible field of `config.pretrain`.

  Args:
    settings: `config.pretrain`.
    logit_bias: `config.model.logit_bias`.
    check_batch: check_batch(field, batch_size), see `sharding.check_batch`.
  """
  where = "config.pretrain"
  fields.check_name(f"{where}.loss", settings.loss, train.OBJECTIVES)
  if "sigmoid" in settings.loss and not logit_bias:
    raise InputError(
      f"{where}.loss = {settings.loss!r} needs a bias of logits; set "
      "config.model.logit_bias = True."
    )
  check_batch("pretrain.batch_size", settings.batch_size)
  check_optimizer(f"{where}.optimizer", settings.optimizer)
  fields.check_positive(settings, where, "epochs", "log_every", "checkpoint_every")
  check_logging(where, settings)
  fields.check_share(settings, where, "crop_area", "flip")
  fields.check_positive(settings, where, "crop_area")


def check_accumulate(parts: int) -> None:
  """Raises InputError unless `config.accumulate` is a number of parts."""
  if parts < 1:
    raise InputError(f"config.accumulate = {parts}; it is a number of parts, 1 or more.")


def check_optimizer(where: str, settings: ConfigDict) -> None:
  """Raises InputError for the first impossible field of `optimizers.settings`.

  Args:
    where: the path of the section, such as "config.pretrain.optimizer".
    settings: of the optimizer.
  """
  fields.check_name(f"{where}.name", settings.name, optimizers.OPTIMIZERS)
  fields.check_positive(settings, where, "learning_rate", "eps")
  fields.check_share(settings, where, "warmup", "end", "b1", "b2")
  for name in ("b1", "b2"):
    if settings[name] == 1:
      raise InputError(f"{where}.{name} = 1; nothing new would ever count. It must be less than 1.")
  if not 0 <= settings.weight_decay < math.inf:
    raise InputError(
      f"{where}.weight_decay = {settings.weight_decay!r}; it must be 0 or more, and finite."
    )


def check_logging(where: str, section: ConfigDict) -> None:
  """Raises InputError unless every checkpoint is preceded by a log line.

  Metrics are tested for NaN when they are logged, so a save between two logs could keep a NaN.
  """
  if section.checkpoint_every % section.log_every:
    raise InputError(
      f"{where}.checkpoint_every = {section.checkpoint_every} is not a multiple of log_every = "
      f"{section.log_every}: a checkpoint is written only after its metrics were seen to be finite."
    )
