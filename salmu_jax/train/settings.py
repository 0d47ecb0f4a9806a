"""Ranges and checks of `config.pretrain`, `config.accumulate` and optimizer settings."""

from collections.abc import Callable

from ml_collections import ConfigDict

from salmu_jax import errors, train
from salmu_jax.errors import InputError
from salmu_jax.ranges import OneOf, Range, Whole
from salmu_jax.train import optimizers

_SHARE = Range(0, 1)
_DECAY = Range(0, 1, below=True)  # of a moment; at 1 nothing new would ever count
BATCH_SIZE = Whole(2, 2**20)  # losses compare the pairs of a batch
OPTIMIZER = {
  "name": OneOf(optimizers.OPTIMIZERS),
  "learning_rate": Range(0, 10**6, above=True),
  "warmup": _SHARE,
  "end": _SHARE,
  "weight_decay": Range(0, 10**6),
  "b1": _DECAY,
  "b2": _DECAY,
  "eps": Range(0, 1, above=True),
}
PRETRAIN = {
  "epochs": Range(0, 10**4, above=True),
  "batch_size": BATCH_SIZE,
  "loss": OneOf(train.OBJECTIVES),
  "crop_area": Range(0, 1, above=True),
  "flip": _SHARE,
  "log_every": Whole(1),
  "checkpoint_every": Whole(1),
  "optimizer": OPTIMIZER,
}
ACCUMULATE = Whole(1, 2**16)


def check_pretraining(
  settings: ConfigDict, logit_bias: bool, check_batch: Callable[[str, int], None]
) -> None:
  """Raises InputError for fields of `config.pretrain` that do not go together.

  Args:
    settings: `config.pretrain`, whose fields are in their ranges.
    logit_bias: `config.model.logit_bias`.
    check_batch: check_batch(field, batch_size), see `sharding.check_batch`.
  """
  where = "config.pretrain"
  errors.refuse(
    errors.found(
      (
        lambda: _check_bias(where, settings.loss, logit_bias),
        lambda: check_batch("pretrain.batch_size", settings.batch_size),
        lambda: check_logging(where, settings),
      )
    )
  )


def _check_bias(where, loss, logit_bias):
  if "sigmoid" in loss and not logit_bias:
    raise InputError(
      f"{where}.loss = {loss!r} needs a logit bias; set config.model.logit_bias = True."
    )


def check_logging(where: str, section: ConfigDict) -> None:
  """Raises InputError unless every checkpoint is preceded by a log line.

  Metrics are tested for NaN when they are logged, so a save between two logs could keep a NaN.
  """
  if section.checkpoint_every % section.log_every:
    raise InputError(
      f"{where}.checkpoint_every = {section.checkpoint_every} is not a multiple of log_every = "
      f"{section.log_every}: a checkpoint is written only after its metrics were found finite."
    )
