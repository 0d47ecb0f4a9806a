"""SLUG's limit after the optimizer: the layers that the data chooses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from salmu_jax.models import leaves
from salmu_jax.ranges import Count
from salmu_jax.runtime import hosts
from salmu_jax.transforms import trees
from salmu_jax.transforms.measured import Prepare, filled, mean_gradients


class SelectLayersState(NamedTuple):
  """norm: of each layer at the start. chosen: bool, whether the layer is updated; it broadcasts."""

  norm: optax.Params
  chosen: optax.Params


def select_layers() -> optax.GradientTransformationExtraArgs:
  """Updates only the weight matrices that `find_layers` chose; the others keep their bits.

  References:
    Cai et al., Single Layer Unlearning Gradient (SLUG, arXiv 2407.11867), section 4.
  """

  def init(params):
    norm = _norms(params)
    return SelectLayersState(norm, jax.tree.map(lambda x: jnp.ones(x.shape, bool), norm))

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    return trees.zeroed(updates, state.chosen), state

  return optax.GradientTransformationExtraArgs(init, update)


def find_layers(count: Count = 1) -> Prepare:
  """Chooses matrices with much to gain on forget and little to lose on retain.

  A weight matrix has an importance |g_forget| / |theta| and an alignment |cos(g_forget, g_retain)|;
  gradients are means over the pass. Of the matrices that no other beats in both (the Pareto front),
  the `count` with the largest importance x (1 - alignment) are chosen, or all if there are fewer.
  The authors try every matrix of the front and keep the best.

  Returns:
    prepare(opt_state, gradients).
  """

  def prepare(opt_state, gradients):
    mean = mean_gradients(gradients, ["forget", "retain"])
    choose = lambda state: state._replace(
      chosen=_choose(state.norm, mean["forget"], mean["retain"], count)
    )
    return filled(opt_state, SelectLayersState, choose)

  return prepare


def _choose(norm, forget, retain, count):
  """A tree like `norm`, true for the chosen layers."""
  importance, alignment = hosts.on_host(_scores(norm, forget, retain))
  alignment = jax.tree.leaves(alignment)
  importance = jax.tree_util.tree_leaves_with_path(importance)
  layers = [
    (float(gain), float(loss), array, layer)
    for array, (path, gains) in enumerate(importance)
    if leaves.is_matrix(path)
    for layer, (gain, loss) in enumerate(zip(gains.ravel(), alignment[array].ravel(), strict=True))
  ]
  front = sorted(_front(layers), key=lambda layer: -layer[0] * (1 - layer[1]))
  chosen = {(array, layer) for *_, array, layer in front[:count]}
  flags = [
    jnp.array([(array, layer) in chosen for layer in range(x.size)]).reshape(x.shape)
    for array, (_, x) in enumerate(importance)
  ]
  return jax.tree.unflatten(jax.tree.structure(norm), flags)


@jax.jit
def _scores(norm, forget, retain):
  """(importance, alignment), trees like `norm`, by layer."""
  ratio = lambda a, b: jnp.abs(a) / jnp.maximum(b, 1e-30)
  lengths = jax.tree.map(jnp.multiply, _norms(forget), _norms(retain))
  alignment = jax.tree.map(ratio, _dots(forget, retain), lengths)
  return jax.tree.map(ratio, _norms(forget), norm), alignment


def _front(layers):
  """The (gain, loss, ...) that no other beats in both, the largest gain first."""
  front = []
  for layer in sorted(layers, key=lambda layer: (-layer[0], layer[1])):
    if not front or layer[1] < front[-1][1]:
      front.append(layer)
  return front


def _norms(tree):
  """The norm of every layer, float32, axes kept at length one."""
  return jax.tree.map(jnp.sqrt, _dots(tree, tree))


def _dots(a, b):
  """The inner product of every layer of two trees, float32, axes kept at length one."""
  dot = lambda axes, x, y: jnp.sum(x * y, axis=axes, keepdims=True)
  return trees.map_layers(dot, trees.wide(a), trees.wide(b))
