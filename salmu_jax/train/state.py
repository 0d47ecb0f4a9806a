"""The training state: its shape, its layout on the mesh and its first value."""

from collections.abc import Callable

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from salmu_jax.models import clip
from salmu_jax.runtime import sharding
from salmu_jax.transforms import trees


@flax.struct.dataclass
class TrainState:
  """What a step changes and a checkpoint holds."""

  step: jax.Array
  params: optax.Params
  opt_state: optax.OptState


def new_state(params: optax.Params, tx: optax.GradientTransformation) -> TrainState:
  """The state before the first step, with copies of `params`."""
  return TrainState(jnp.zeros((), jnp.int32), trees.copy(params), tx.init(params))


def start_state(
  params: optax.Params,
  tx: optax.GradientTransformation,
  mesh: Mesh,
  layout: TrainState | None = None,
) -> TrainState:
  """The state before the first step, on the mesh. Copies `params`, because steps donate them."""
  return starter(tx, layout or sharding.replicated(mesh))(params)


def starter(
  tx: optax.GradientTransformation, layout: TrainState | jax.sharding.Sharding
) -> Callable[[optax.Params], TrainState]:
  """start(params) -> the state before the first step of many runs, see `start_state`."""
  return jax.jit(lambda params: new_state(params, tx), out_shardings=layout)


def init_params(
  model: nn.Module, seed: int, mesh: Mesh, rules: sharding.Rules = sharding.REPLICATED
) -> optax.Params:
  """Fresh parameters, created on the devices that hold them."""
  layout = sharding.parameter_layout(clip.shapes(model), mesh, rules)
  return jax.jit(lambda: clip.init(model, seed), out_shardings=layout)()


def state_layout(
  params: optax.Params,
  tx: optax.GradientTransformation,
  mesh: Mesh,
  rules: sharding.Rules = sharding.REPLICATED,
) -> TrainState:
  """The sharding of every array of a run's state: a TrainState of NamedSharding.

  Args:
    params: a tree of arrays or shapes.
    tx: the transformation that makes the optimizer's state.
    mesh: the devices.
    rules: sharding rules of the parameters, see `sharding.parameter_layout`.
  """
  params_layout = sharding.parameter_layout(params, mesh, rules)
  opt_layout = sharding.state_layout(jax.eval_shape(tx.init, params), params_layout, mesh)
  return TrainState(sharding.replicated(mesh), params_layout, opt_layout)
