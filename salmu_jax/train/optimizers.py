"""Optimizers by name, with linear warm-up and cosine decay of their learning rate.

Each optimizer works at a learning rate of 1, followed by `transforms.scale_by_rates`: the schedule
is a table in the optimizer's state, so one compiled step serves all learning rates and lengths.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from salmu_jax import transforms
from salmu_jax.errors import InputError
from salmu_jax.models import leaves
from salmu_jax.transforms import rates

# The settings that make the table of learning rates; no other part of an optimizer reads them.
SCHEDULE = ("learning_rate", "warmup", "end")


def settings(
  learning_rate: float,
  *,
  name: str = "adamw",
  warmup: float = 0.1,
  end: float = 0.0,
  weight_decay: float = 0.0,
  b1: float = 0.9,
  b2: float = 0.98,
  eps: float = 1e-6,
) -> ConfigDict:
  """The settings of an optimizer with linear warm-up and cosine decay.

  Args:
    learning_rate: the peak.
    name: a key of OPTIMIZERS: "adamw"; "muon", which leaves all but matrices to NAdam, decays
      matrices alone and does not read eps; or "sgd", whose momentum is b1 and which reads neither
      b2 nor eps.
    warmup: the share of the steps that lead up to the peak.
    end: the share of the peak that is left at the last step.
    weight_decay: the strength of weight decay.
    b1: the decay of the first moment.
    b2: the decay of the second moment.
    eps: added to the root of the second moment.
  """
  return ConfigDict(
    dict(
      name=name,
      learning_rate=learning_rate,
      warmup=warmup,
      end=end,
      weight_decay=weight_decay,
      b1=b1,
      b2=b2,
      eps=eps,
    )
  )


def make_optimizer(settings: ConfigDict, total_steps: int) -> optax.GradientTransformationExtraArgs:
  """The optimizer of a run, its learning rates in its state.

  Args:
    settings: see `settings`.
    total_steps: of the run.
  """
  table = rate_table(settings, total_steps, total_steps + 1)
  return optax.chain(OPTIMIZERS[settings.name](settings), transforms.scale_by_rates(table))


def with_rates(opt_state: optax.OptState, settings: ConfigDict, total_steps: int) -> optax.OptState:
  """The optimizer's state with the learning rates of another run.

  Args:
    opt_state: of a chain with an optimizer of `make_optimizer`; a chain without one has no
      learning rate and keeps its state.
    settings: only the learning rate and its schedule are read.
    total_steps: of the run.

  Raises:
    InputError: the table in the state is too short for the run.
  """

  def table(old):
    return jax.device_put(rate_table(settings, total_steps, old.size), old.sharding)

  return rates.replace_rates(opt_state, table)


def rate_table(settings: ConfigDict, total_steps: int, length: int) -> np.ndarray:
  """(length,) float32, the learning rate by number of steps taken; the last one stays.

  Every entry equals, bit for bit, what `make_schedule` gives inside a compiled step. So it is
  compiled here too: XLA turns a division by a constant into a multiplication by its reciprocal,
  which rounds differently.

  Raises:
    InputError: `length` is too short for the run.
  """
  if length <= total_steps:
    raise InputError(
      f"A table of {length} learning rates is too short for a run of {total_steps} steps, which "
      f"needs {total_steps + 1}."
    )
  return _compiled_table(*(settings[name] for name in SCHEDULE), total_steps, length)


# Cached: a run's optimizer is made when the run is checked, and again when it trains.
@functools.cache
def _compiled_table(learning_rate, warmup, end, total_steps, length):
  settings = ConfigDict({"learning_rate": learning_rate, "warmup": warmup, "end": end})
  schedule = make_schedule(settings, total_steps)
  one_by_one = jax.jit(lambda counts: jax.lax.map(schedule, counts))
  table = np.array(one_by_one(jnp.arange(length)), np.float32)
  table.flags.writeable = False
  return table


def make_schedule(settings: ConfigDict, total_steps: int) -> optax.Schedule:
  """Learning rate by number of steps taken, see `make_optimizer`."""
  return optax.warmup_cosine_decay_schedule(
    init_value=0.0,
    peak_value=settings.learning_rate,
    warmup_steps=min(round(settings.warmup * total_steps), total_steps - 1),
    decay_steps=total_steps,
    end_value=settings.end * settings.learning_rate,
  )


def _adamw(settings):
  return optax.adamw(
    1.0,
    b1=settings.b1,
    b2=settings.b2,
    eps=settings.eps,
    weight_decay=settings.weight_decay,
    mask=leaves.decayed,
  )


def _sgd(settings):
  """As in PyTorch: the decay is part of the gradient that the momentum `b1` sums up."""
  decay = optax.add_decayed_weights(settings.weight_decay, mask=leaves.decayed)
  return optax.chain(decay, optax.sgd(1.0, momentum=settings.b1))


def _muon(settings):
  """`optax.contrib.muon` (Jordan 2024): Muon for the matrices of the towers, NAdam for the rest.

  Scaled as by Liu et al. (arXiv 2502.16982), so that learning rates of the matrices are comparable
  with Adam's.
  """
  return optax.contrib.muon(
    1.0,
    weight_decay=settings.weight_decay,
    adam_b1=settings.b1,
    adam_b2=settings.b2,
    muon_weight_dimension_numbers=_matrices,
    consistent_rms=0.2,
  )


def _matrices(params):
  """The axes of each matrix that Muon works on, without a leading axis of scanned layers; None for
  other arrays.
  """
  axes = optax.contrib.MuonDimensionNumbers(-2, -1)
  muons = lambda path, x: leaves.is_matrix(path) and x.ndim in (2, 3)
  return jax.tree_util.tree_map_with_path(lambda path, x: axes if muons(path, x) else None, params)


# Name -> optimizer(settings) at a learning rate of 1.
OPTIMIZERS = {"adamw": _adamw, "muon": _muon, "sgd": _sgd}
