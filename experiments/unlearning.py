"""Unlearning runs for studies: the trainer's step, compiled once for all rates and lengths.

The learning rates of a run are data in the optimizer's state, in a table of fixed length. So runs
that differ in learning rate, schedule or number of steps share one compiled program.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from salmu_jax import train
from salmu_jax.data import pipeline
from salmu_jax.methods.base import Method
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers

LONGEST = 8192  # the most steps of a run


class Unlearner(NamedTuple):
  """A method with its compiled programs.

  method: with an optimizer whose table of learning rates is LONGEST steps long.
  batches: batches(stream of host batches) -> a stream that `step` takes; from `train.cutting_step`.
  step: the training step, from `train.cutting_step`.
  gradients: from `train.jitted_gradients`, for methods that measure the data first.
  mesh: the devices.
  """

  method: Method
  batches: Callable[[Iterator], Iterator]
  step: Callable
  gradients: Callable
  mesh: Mesh


def make_unlearner(
  make: Callable[[optax.GradientTransformation], Method],
  settings: ConfigDict,
  model: nn.Module,
  mesh: Mesh,
  examples: Callable[[Method], Sequence[Mapping]] | None = None,
) -> Unlearner:
  """Compiles a method for runs with any learning rate and up to LONGEST steps.

  Args:
    make: make(optimizer) -> Method.
    settings: as config.unlearn.NAME; `unlearn` replaces the schedule of its optimizer.
    model: the CLIP module.
    mesh: the devices.
    examples: examples(method) -> the examples of its batches, see `stages.unlearning_examples`;
      texts are cut to lengths chosen from them. None embeds all texts at the full context.
  """
  method = make(optimizers.make_optimizer(settings.optimizer, LONGEST))
  texts = examples and (lambda: pipeline.sample_texts(examples(method)))
  jitted = lambda groups: train.jitted_unlearn_step(model, method, mesh, groups=groups)
  batches, step, _ = train.cutting_step(jitted, mesh, texts, settings.batch_size)
  return Unlearner(method, batches, step, train.jitted_gradients(model, method, mesh), mesh)


def unlearn(
  unlearner: Unlearner,
  start: optax.Params,
  settings: ConfigDict,
  batches: Iterable[dict],
  steps: int,
  measured: Callable[[], Iterable[dict]],
  tick: Callable[[], None] = lambda: None,
) -> optax.Params:
  """The parameters after a run, the same as from `stages.unlearn`.

  Args:
    unlearner: from `make_unlearner`.
    start: the parameters to start from, also the reference of the losses.
    settings: as config.unlearn.NAME.optimizer; only the fields of optimizers.SCHEDULE are read.
    batches: host batches {"forget": half, "retain": half}, at least one for each step.
    steps: of the run.
    measured: measured() -> the batches of one pass over forget, for `Method.prepares`.
    tick: called after every step.

  Raises:
    InputError: `steps` exceeds LONGEST.
  """
  method, mesh = unlearner.method, unlearner.mesh
  put = functools.partial(sharding.put_batch, mesh=mesh)
  gradients = lambda: (unlearner.gradients(start, put(batch)) for batch in measured())
  state = train.start_state(start, method.tx, mesh)
  state = train.prepared(state, method, gradients, mesh)
  state = state.replace(opt_state=optimizers.with_rates(state.opt_state, settings, steps))
  for batch in unlearner.batches(itertools.islice(batches, steps)):
    state, _ = unlearner.step(state, start, batch)
    tick()
  return jax.block_until_ready(state.params)
