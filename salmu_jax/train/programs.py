"""The steps compiled for a mesh, with the sharding of their state.

The trainer, the studies, the tests and the ahead-of-time compile checks all run these programs.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from salmu_jax.models import clip, lengths
from salmu_jax.models.lengths import Groups
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers
from salmu_jax.train.fitting import Fitting
from salmu_jax.train.state import TrainState, starter, state_layout
from salmu_jax.train.step import (
  OBJECTIVES,
  Objective,
  UnlearningMethod,
  gradients_of,
  make_pretrain_step,
  make_unlearn_step,
)


class Program(NamedTuple):
  """A step as the trainer runs it.

  batches: batches(stream) -> the host batches of a stream, as `step` takes them.
  step: the step on a `fitting.Batch`, see `on_host_batches`.
  jitted: the step on global arrays, with the texts of every batch cut as the groups say.
  start: start(params) -> the state before the first step, see `state.start_state`; compiled once.
  layout: the sharding of the state, a TrainState of NamedSharding.
  """

  batches: Callable[[Iterator], Iterator]
  step: Callable
  jitted: Callable
  start: Callable
  layout: TrainState


def pretrain_program(
  config: ConfigDict,
  model: nn.Module,
  mesh: Mesh,
  total_steps: int,
  texts: Callable[[], Mapping[str, Any]] | None = None,
) -> Program:
  """The step that pretrains `model` as `config` says.

  Args:
    config: the whole config.
    model: the CLIP module.
    mesh: the devices.
    total_steps: of the run.
    texts: texts() -> tokens like those of the batches; their lengths decide how texts are cut, see
      `lengths.choose_each`. None embeds all texts at the full context.
  """
  tx = optimizers.make_optimizer(config.pretrain.optimizer, total_steps)
  layout = state_layout(clip.shapes(model), tx, mesh, config.sharding)
  jitted = lambda groups: jitted_pretrain_step(
    model,
    tx,
    mesh,
    OBJECTIVES[config.pretrain.loss](mesh),
    layout=layout,
    accumulate=config.accumulate,
    groups=groups,
  )
  cut = cutting_step(jitted, mesh, texts, config.pretrain.batch_size, config.accumulate)
  return Program(*cut, starter(tx, layout), layout)


def unlearn_program(
  config: ConfigDict,
  model: nn.Module,
  mesh: Mesh,
  method: UnlearningMethod,
  batch_size: int,
  texts: Callable[[], Mapping[str, Any]] | None = None,
) -> Program:
  """The step that unlearns with `method` as `config` says.

  Args:
    config: the whole config.
    model: the CLIP module.
    mesh: the devices.
    method: two losses and a transformation.
    batch_size: rows of a half, over all devices.
    texts: as for `pretrain_program`, by half.
  """
  layout = state_layout(clip.shapes(model), method.tx, mesh, config.sharding)
  jitted = lambda groups: jitted_unlearn_step(
    model, method, mesh, layout=layout, accumulate=config.accumulate, groups=groups
  )
  cut = cutting_step(jitted, mesh, texts, batch_size, config.accumulate)
  return Program(*cut, starter(method.tx, layout), layout)


def cutting_step(
  jitted: Callable[[Any], Callable],
  mesh: Mesh,
  texts: Callable[[], Mapping[str, Any]] | None,
  batch_size: int,
  parts: int = 1,
) -> tuple[Callable, Callable, Callable]:
  """(batches, step, jitted) of `Program`: a step that cuts texts where they fit.

  Args:
    jitted: jitted(groups) -> the program on global arrays; groups is None for the full context.
    mesh: the devices.
    texts: as for `pretrain_program`.
    batch_size: rows, over all devices.
    parts: number of parts that a batch is embedded in, see `salmu_jax.train.accumulate`.
  """
  rows = batch_size // (mesh.size * parts)
  groups = lengths.choose_each(texts(), rows, mesh.size) if texts else None
  whole = jitted(None)
  short = jitted(groups) if groups else whole
  batches = functools.partial(in_batches, groups=groups, parts=parts)
  return batches, on_host_batches(whole, short, mesh), short


def in_batches(stream: Iterator, groups: Any, parts: int) -> Iterator:
  """The host batches of a stream as `fitting.Batch`.

  Args:
    stream: a checkpointable iterator of this process's rows of batches, as numpy arrays.
    groups: how texts are cut, see `lengths.fit`; None for the full context.
    parts: number of parts that a batch is embedded in, see `salmu_jax.train.accumulate`.
  """
  fits = functools.partial(lengths.fit, groups=groups, parts=parts) if groups else None
  return Fitting(stream, fits)


def on_host_batches(whole: Callable, short: Callable, mesh: Mesh) -> Callable:
  """Returns call(*arrays, batch) on a `fitting.Batch`.

  Args:
    whole: the program on global arrays, with texts at the full context.
    short: the program that cuts them, which gives the same up to rounding.
    mesh: the devices.
  """

  def call(*args):
    batch = args[-1]
    program = whole if batch.whole else short
    return program(*args[:-1], sharding.put_batch(batch.rows, mesh))

  return call


def jitted_pretrain_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  mesh: Mesh,
  objective: Objective | None = None,
  *,
  layout: TrainState | None = None,
  accumulate: int = 1,
  groups: Mapping[str, Groups] | None = None,
) -> Callable:
  """The compiled pretraining step; the state is donated.

  Args:
    model: the CLIP module.
    tx: the optimizer.
    mesh: the devices.
    objective: an Objective for this mesh; CLIP's contrastive loss if None.
    layout: of the state, see `state_layout`; whole copies if None.
    accumulate: number of parts that the batch is embedded in, see `salmu_jax.train.accumulate`.
    groups: of the texts of a batch, which must `lengths.fit`; None for the full context.
  """
  objective = objective or OBJECTIVES["contrastive"](mesh)
  whole, rows = sharding.replicated(mesh), sharding.over_batch(mesh)
  layout = layout or whole
  return jax.jit(
    make_pretrain_step(model, tx, objective, accumulate, groups),
    donate_argnums=0,
    in_shardings=(layout, rows),
    out_shardings=(layout, whole),
  )


def jitted_unlearn_step(
  model: nn.Module,
  method: UnlearningMethod,
  mesh: Mesh,
  *,
  layout: TrainState | None = None,
  accumulate: int = 1,
  groups: Mapping[str, Mapping[str, Groups]] | None = None,
) -> Callable:
  """The compiled unlearning step; the state is donated, the reference is not.

  Args: see `jitted_pretrain_step`; `groups` by half.
  """
  whole, rows = sharding.replicated(mesh), sharding.over_batch(mesh)
  layout = layout or TrainState(whole, whole, whole)
  return jax.jit(
    make_unlearn_step(model, method, accumulate, groups),
    donate_argnums=0,
    in_shardings=(layout, layout.params, rows),
    out_shardings=(layout, whole),
  )


def jitted_gradients(
  model: nn.Module,
  method: UnlearningMethod,
  mesh: Mesh,
  *,
  layout: TrainState | None = None,
  accumulate: int = 1,
) -> Callable:
  """gradients(params, batch) -> {"forget": tree, "retain": tree} at params, for `prepares`."""
  whole, rows = sharding.replicated(mesh), sharding.over_batch(mesh)
  params = layout.params if layout else whole
  gradients = lambda p, batch: gradients_of(model, method, p, p, batch, accumulate)[1]
  return jax.jit(
    gradients, in_shardings=(params, rows), out_shardings={"forget": params, "retain": params}
  )


def prepared(
  state: TrainState,
  method: UnlearningMethod,
  gradients: Callable[[], Iterator[dict[str, optax.Updates]]],
  mesh: Mesh,
  layout: TrainState | None = None,
) -> TrainState:
  """The state with the measurements of `method.prepares`, laid out as a step leaves it.

  Args:
    state: the state before the first step.
    method: whose `prepares` measure.
    gradients: gradients() yields the output of `jitted_gradients` for every batch of one pass.
    mesh: the devices.
    layout: of the state; whole copies if None.
  """
  opt_state = state.opt_state
  for prepare in method.prepares:
    opt_state = prepare(opt_state, gradients)
  where = layout.opt_state if layout else sharding.replicated(mesh)
  return state.replace(opt_state=jax.device_put(opt_state, where))
