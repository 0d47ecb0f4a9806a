"""The steps compiled for a mesh, with the sharding of their state.

The trainer, the studies, the tests and the ahead-of-time compile checks all run these programs.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from salmu_jax.models import clip
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers
from salmu_jax.train.state import TrainState, state_layout
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

  step: the jitted step.
  tx: the transformation that makes the optimizer's state.
  layout: the sharding of the state, a TrainState of NamedSharding.
  """

  step: Callable
  tx: optax.GradientTransformation
  layout: TrainState


def pretrain_program(config: ConfigDict, model: nn.Module, mesh: Mesh, total_steps: int) -> Program:
  """The step that pretrains `model` as `config` says."""
  tx = optimizers.make_optimizer(config.pretrain.optimizer, total_steps)
  layout = state_layout(clip.shapes(model), tx, mesh, config.sharding)
  objective = OBJECTIVES[config.pretrain.loss](mesh)
  step = jitted_pretrain_step(
    model, tx, mesh, objective, layout=layout, accumulate=config.accumulate
  )
  return Program(step, tx, layout)


def unlearn_program(
  config: ConfigDict, model: nn.Module, mesh: Mesh, method: UnlearningMethod
) -> Program:
  """The step that unlearns with `method` as `config` says."""
  layout = state_layout(clip.shapes(model), method.tx, mesh, config.sharding)
  step = jitted_unlearn_step(model, method, mesh, layout=layout, accumulate=config.accumulate)
  return Program(step, method.tx, layout)


def jitted_pretrain_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  mesh: Mesh,
  objective: Objective | None = None,
  *,
  layout: TrainState | None = None,
  accumulate: int = 1,
) -> Callable:
  """The compiled pretraining step; the state is donated.

  Args:
    model: the CLIP module.
    tx: the optimizer.
    mesh: the devices.
    objective: an Objective for this mesh; CLIP's contrastive loss if None.
    layout: of the state, see `state_layout`; whole copies if None.
    accumulate: parts that the batch is embedded in, see `salmu_jax.train.accumulate`.
  """
  objective = objective or OBJECTIVES["contrastive"](mesh)
  whole, rows = sharding.replicated(mesh), sharding.over_batch(mesh)
  layout = layout or whole
  return jax.jit(
    make_pretrain_step(model, tx, objective, accumulate),
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
) -> Callable:
  """The compiled unlearning step; the state is donated, the reference is not.

  Args: see `jitted_pretrain_step`.
  """
  whole, rows = sharding.replicated(mesh), sharding.over_batch(mesh)
  layout = layout or TrainState(whole, whole, whole)
  return jax.jit(
    make_unlearn_step(model, method, accumulate),
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
  """The state with what `method.prepares` measure, laid out as a step leaves it.

  Args:
    state: the state before the first step.
    method: the method that measures.
    gradients: gradients() yields the output of `jitted_gradients` for every batch of one pass.
    mesh: the devices.
    layout: of the state; whole copies if None.
  """
  opt_state = state.opt_state
  for prepare in method.prepares:
    opt_state = prepare(opt_state, gradients)
  where = layout.opt_state if layout else sharding.replicated(mesh)
  return state.replace(opt_state=jax.device_put(opt_state, where))
