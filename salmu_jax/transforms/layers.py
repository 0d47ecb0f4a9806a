"""Limits after the optimizer: to layers that the data chooses, by SLUG, RAZOR or relative Fisher
information.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from salmu_jax.models import leaves
from salmu_jax.ranges import Count, Share
from salmu_jax.runtime import hosts
from salmu_jax.transforms import trees
from salmu_jax.transforms.measured import Prepare, filled, mean_gradients

_NEVER = 2**30  # the place of a layer that is never opened


class SelectLayersState(NamedTuple):
  """norm: of each layer at the start. chosen: bool, whether the layer is updated; it broadcasts."""

  norm: optax.Params
  chosen: optax.Params


def select_layers() -> optax.GradientTransformationExtraArgs:
  """Updates only the weight matrices that `find_layers` or `find_fisher_layers` chose; the others
  keep their bits.

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


def find_fisher_layers(count: Count = 8) -> Prepare:
  """Chooses the `count` matrices with the largest Fisher information of forget over that of retain.

    I = E_forget |grad|^2 / E_retain |grad|^2,    by weight matrix

  Expectations run over the batches of the pass, of batch gradients of the method's two losses.

  Returns:
    prepare(opt_state, gradients).

  References:
    Zhang et al., Targeted Forgetting of Image Subgroups in CLIP Models (arXiv 2506.03117); there
    both gradients are those of the similarity.
  """

  def prepare(opt_state, gradients):
    mean = mean_gradients(gradients, ["forget", "retain"], jnp.square)
    scores = _relative(mean["forget"], mean["retain"])

    def choose(state):
      best = _ranked(scores)[:count]
      return state._replace(chosen=_spread(state.norm, dict.fromkeys(best, True), False))

    return filled(opt_state, SelectLayersState, choose)

  return prepare


class GrowLayersState(NamedTuple):
  """count: (), steps taken. norm: of each layer at the start. place: int32, when a layer
  is opened, counted from 0; it broadcasts.
  """

  count: jax.Array
  norm: optax.Params
  place: optax.Params


def grow_layers(steps: int, count: Count = 6) -> optax.GradientTransformationExtraArgs:
  """Updates one more weight matrix in every `count`-th part of the run; the others keep their bits.

  They are opened in the order of `find_order`. Before that is known, all parameters are updated.

  Args:
    steps: of the run. count: of matrices, in the end.

  References:
    Ranjan et al., RAZOR (arXiv 2603.14819), iterative expansion, of 6 rounds at most. There every
    round measures the order again, and the rounds end when enough is forgotten.
  """

  def init(params):
    norm = _norms(params)
    places = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.int32), norm)
    return GrowLayersState(jnp.zeros((), jnp.int32), norm, places)

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    opened = jnp.minimum(state.count * count // steps + 1, count)
    keep = jax.tree.map(lambda place: place < opened, state.place)
    return trees.zeroed(updates, keep), state._replace(count=state.count + 1)

  return optax.GradientTransformationExtraArgs(init, update)


def find_order(alpha: Share = 1.0) -> Prepare:
  """Orders the weight matrices by RAZOR's score, the largest first.

    phi = |f| / |theta| (1 + cos(f, r))^alpha

  f and r are the mean gradients of the two losses. The paper ascends on its forget loss and so has
  1 - cos; here both losses are descended on. Parameters other than matrices are never opened.

  Returns:
    prepare(opt_state, gradients).
  """

  def prepare(opt_state, gradients):
    mean = mean_gradients(gradients, ["forget", "retain"])

    def order(state):
      ranked = _ranked(_ratio_scores(state.norm, mean["forget"], mean["retain"], alpha))
      places = {layer: place for place, layer in enumerate(ranked)}
      return state._replace(place=_spread(state.norm, places, _NEVER))

    return filled(opt_state, GrowLayersState, order)

  return prepare


def _choose(norm, forget, retain, count):
  """A tree like `norm`, true for the chosen layers."""
  importance, alignment = hosts.on_host(_scores(norm, forget, retain))
  losses = _by_layer(alignment)
  layers = [(gain, losses[layer], layer) for layer, gain in _by_layer(importance).items()]
  front = sorted(_front(layers), key=lambda layer: -layer[0] * (1 - layer[1]))
  return _spread(norm, {layer: True for *_, layer in front[:count]}, False)


def _by_layer(scores):
  """{(number of the array, number of the layer): score} of the weight matrices."""
  listed = enumerate(jax.tree_util.tree_leaves_with_path(scores))
  matrices = [(array, x) for array, (path, x) in listed if leaves.is_matrix(path)]
  return {(array, i): float(score) for array, x in matrices for i, score in enumerate(x.ravel())}


def _ranked(scores):
  """The keys of `_by_layer`, the largest score first."""
  by_layer = _by_layer(hosts.on_host(scores))
  return sorted(by_layer, key=lambda layer: -by_layer[layer])


def _spread(norm, values, other):
  """A tree like `norm` with values[array, layer] where there is one, and `other` elsewhere."""
  arrays, structure = jax.tree.flatten(norm)
  spread = [
    jnp.array([values.get((array, i), other) for i in range(x.size)]).reshape(x.shape)
    for array, x in enumerate(arrays)
  ]
  return jax.tree.unflatten(structure, spread)


@jax.jit
def _scores(norm, forget, retain):
  """(importance, alignment), trees like `norm`, by layer."""
  ratio = lambda a, b: jnp.abs(a) / jnp.maximum(b, 1e-30)
  lengths = jax.tree.map(jnp.multiply, _norms(forget), _norms(retain))
  alignment = jax.tree.map(ratio, _dots(forget, retain), lengths)
  return jax.tree.map(ratio, _norms(forget), norm), alignment


@jax.jit
def _relative(forget, retain):
  """The sum of every layer of one tree over that of another, axes kept at length one."""
  total = lambda axes, f, r: (
    jnp.sum(f, axis=axes, keepdims=True) / jnp.maximum(jnp.sum(r, axis=axes, keepdims=True), 1e-30)
  )
  return trees.map_layers(total, forget, retain)


@jax.jit
def _ratio_scores(norm, forget, retain, alpha):
  """RAZOR's score by layer, a tree like `norm`."""

  def score(size, f, r, dot):
    cosine = jnp.clip(dot / jnp.maximum(f * r, 1e-30), -1.0, 1.0)
    return f / jnp.maximum(size, 1e-30) * (1 + cosine) ** alpha

  return jax.tree.map(score, norm, _norms(forget), _norms(retain), _dots(forget, retain))


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
