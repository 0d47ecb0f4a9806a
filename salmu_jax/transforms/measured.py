"""Limits that the data decides: which weights matter for forget, and which for retain.

Each transformation keeps its measurements in its state. A `find_...` or `measure_...` function
makes `prepare(opt_state, gradients) -> opt_state`, which fills that state from one pass over the
data, see `salmu_jax.methods.base.Method`. Until then, all but `hold_unimportant` change nothing.
They go after the optimizer in a chain: Adam undoes any constant factor on a weight's gradient, and
its decay moves masked weights.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from salmu_jax.errors import InputError
from salmu_jax.ranges import Count, PositiveShare, Weight
from salmu_jax.runtime import hosts
from salmu_jax.transforms import trees

# gradients() yields {"forget": tree, "retain": tree} for every batch of one pass over the data.
Gradients = Callable[[], Iterable[Mapping[str, optax.Updates]]]
# prepare(opt_state, gradients) -> opt_state with what was measured.
Prepare = Callable[[optax.OptState, Gradients], optax.OptState]


def mean_gradients(
  gradients: Gradients, halves: Iterable[str], of: Callable[[jax.Array], jax.Array] = lambda x: x
) -> dict[str, optax.Updates]:
  """{half: the mean of of(gradient), in float32}, over the batches of one pass."""
  total, count = None, 0
  for batch in gradients():
    part = jax.tree.map(lambda x: of(x.astype(jnp.float32)), {half: batch[half] for half in halves})
    total, count = part if total is None else jax.tree.map(jnp.add, total, part), count + 1
  return jax.tree.map(lambda x: x / count, total)


def filled(
  opt_state: optax.OptState, kind: type, fill: Callable[[Any], optax.OptState]
) -> optax.OptState:
  """`opt_state` with fill(state) in the place of every state of type `kind`.

  Raises:
    InputError: there is none.
  """
  ours = lambda x: isinstance(x, kind)
  if not any(map(ours, jax.tree.leaves(opt_state, is_leaf=ours))):
    raise InputError(f"The chain has no transformation with a {kind.__name__} to fill.")
  return jax.tree.map(lambda x: fill(x) if ours(x) else x, opt_state, is_leaf=ours)


class KeepSalientState(NamedTuple):
  """mask: a tree of bool arrays like the parameters, true where an update passes."""

  mask: optax.Params


def keep_salient() -> optax.GradientTransformationExtraArgs:
  """Updates only the weights that `find_salient` marked; the others keep their bits.

  References:
    Fan et al., SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency (ICLR 2024),
    equations 4 and 5.
  """

  def init(params):
    return KeepSalientState(jax.tree.map(lambda x: jnp.ones(x.shape, bool), params))

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    return trees.zeroed(updates, state.mask), state

  return optax.GradientTransformationExtraArgs(init, update)


def find_salient(fraction: PositiveShare = 0.5) -> Prepare:
  """Marks the weights with the largest |sum of forget gradients|.

  Args:
    fraction: share of all weights to mark, over the whole tree; the authors' default is 0.5.
      Weights without any gradient, such as those of unseen words, are never marked.

  Returns:
    prepare(opt_state, gradients).
  """

  def prepare(opt_state, gradients):
    saliency = jax.tree.map(jnp.abs, mean_gradients(gradients, ["forget"])["forget"])
    flat = np.concatenate([x.ravel() for x in jax.tree.leaves(hosts.on_host(saliency))])
    rank = flat.size - math.ceil(fraction * flat.size)
    threshold = np.partition(flat, rank)[rank]
    mask = jax.tree.map(lambda x: (x >= threshold) & (x > 0), saliency)
    return filled(opt_state, KeepSalientState, lambda _: KeepSalientState(mask))

  return prepare


class ProjectOutState(NamedTuple):
  """basis: a tree like the parameters with a leading axis of K orthonormal directions, or zeros."""

  basis: optax.Params


def project_out(rank: Count = 8) -> optax.GradientTransformationExtraArgs:
  """Projects the update out of the span of retain gradients that `find_basis` measured.

    u <- u - sum_k <u, b_k> b_k

  so a step leaves the retain loss at the start unchanged to first order, whatever the optimizer did
  to the gradient. Inner products run over the whole tree; the state holds `rank` copies of the
  parameters.

  References:
    Saha et al., Gradient Projection Memory for Continual Learning (arXiv 2103.09762), with
    gradients in the place of layer inputs.
  """

  def init(params):
    return ProjectOutState(jax.tree.map(lambda x: jnp.zeros((rank, *x.shape), jnp.float32), params))

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    along = lambda u, b: jnp.tensordot(b, u.astype(jnp.float32), axes=u.ndim, precision="highest")
    parts = sum(jax.tree.leaves(jax.tree.map(along, updates, state.basis)))
    remove = lambda u, b: (
      u.astype(jnp.float32) - jnp.tensordot(parts, b, axes=1, precision="highest")
    ).astype(u.dtype)
    return jax.tree.map(remove, updates, state.basis), state

  return optax.GradientTransformationExtraArgs(init, update)


def find_basis(rank: Count = 8) -> Prepare:
  """Orthonormalises `rank` sums of retain gradients, each over every `rank`-th batch of the pass.

  Directions that are linearly dependent to rounding are left out (zeros). Measuring needs memory
  for `rank` sums and as many directions, besides the state.

  Returns:
    prepare(opt_state, gradients).
  """

  def prepare(opt_state, gradients):
    sums = []
    for number, batch in enumerate(gradients()):
      part = trees.wide(batch["retain"])
      if number < rank:
        sums.append(part)
      else:
        sums[number % rank] = jax.tree.map(jnp.add, sums[number % rank], part)
    whiten = _whitening(np.asarray(_gram(sums), np.float64), rank).astype(np.float32)
    basis = _combined(whiten, sums)
    return filled(opt_state, ProjectOutState, lambda _: ProjectOutState(basis))

  return prepare


# One program each: with several processes, the collectives of many small programs would wait for
# each other.
@jax.jit
def _gram(vectors):
  """(K, K) inner products of K trees."""
  return jnp.array([[optax.tree.vdot(a, b) for b in vectors] for a in vectors])


@jax.jit
def _combined(weights, vectors):
  """A tree whose leaves have a leading axis of weights (R, K) @ K trees."""
  combine = lambda *parts: jnp.tensordot(weights, jnp.stack(parts), axes=1, precision="highest")
  return jax.tree.map(combine, *vectors)


def _whitening(gram, rank):
  """(rank, K) that makes K vectors with these inner products orthonormal; surplus rows are zero."""
  values, vectors = np.linalg.eigh(gram)
  used = values > 1e-6 * values.max()
  rows = (vectors * np.where(used, 1 / np.sqrt(np.where(used, values, 1)), 0)).T
  return np.pad(rows, ((0, rank - len(rows)), (0, 0)))


class ImportanceState(NamedTuple):
  """importance: a tree like the parameters, squared gradients over their mean; zeros at first."""

  importance: optax.Params


def divide_by_importance(strength: Weight = 1.0) -> optax.GradientTransformationExtraArgs:
  """Slows down the weights that retain needs, u <- u / (1 + strength F / mean F).

  F is the diagonal of the empirical Fisher information of retain, from `measure_importance`; its
  mean runs over the whole tree. Strength 0 is the identity.

  References:
    Kirkpatrick et al., Overcoming catastrophic forgetting (arXiv 1612.00796), for F as importance.
  """

  def init(params):
    return ImportanceState(trees.wide_zeros(params))

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    divide = lambda u, f: (u / (1 + strength * f)).astype(u.dtype)
    return jax.tree.map(divide, updates, state.importance), state

  return optax.GradientTransformationExtraArgs(init, update)


def measure_importance() -> Prepare:
  """Fills the state of `divide_by_importance` with the squared retain gradients, over their mean.

  Gradients are those of batches, as in the usual implementations, not of single rows.

  Returns:
    prepare(opt_state, gradients).
  """

  def prepare(opt_state, gradients):
    relative = _over_mean(mean_gradients(gradients, ["retain"], jnp.square)["retain"])
    return filled(opt_state, ImportanceState, lambda _: ImportanceState(relative))

  return prepare


@jax.jit
def _over_mean(tree):
  """The tree over the mean of all its entries."""
  entries = sum(x.size for x in jax.tree.leaves(tree))
  mean = sum(jnp.sum(x) for x in jax.tree.leaves(tree)) / entries
  return jax.tree.map(lambda x: x / jnp.maximum(mean, trees.TINY), tree)


class HoldUnimportantState(NamedTuple):
  """start: the starting parameters. freedom: like them, in [0, 1], 1 for what forget needs most."""

  start: optax.Params
  freedom: optax.Params


def hold_unimportant(weight: Weight) -> optax.GradientTransformationExtraArgs:
  """Adds the pull of an L2 penalty towards the start, on the weights that forget does not need.

    u <- u + weight (1 - freedom) (theta - theta0)

  Unlike the others here it belongs before the optimizer: it is the gradient of a penalty.

  References:
    Cha et al., Learning to Unlearn (L2UL, arXiv 2301.11578), equation 7.
  """

  def init(params):
    return HoldUnimportantState(trees.copy(params), trees.wide_zeros(params))

  def update(updates, state, params, **extra_args):
    del extra_args
    pull = lambda u, p, s, f: (u + weight * (1 - f) * (p - s)).astype(u.dtype)
    return jax.tree.map(pull, updates, params, state.start, state.freedom), state

  return optax.GradientTransformationExtraArgs(init, update)


def measure_freedom() -> Prepare:
  """Fills `hold_unimportant`: |mean forget gradient| over the largest of its layer.

  The authors' code takes the gradient of the outputs' norm in the place of the loss's.

  Returns:
    prepare(opt_state, gradients).
  """

  def prepare(opt_state, gradients):
    freedom = _over_largest(mean_gradients(gradients, ["forget"])["forget"])
    return filled(opt_state, HoldUnimportantState, lambda s: s._replace(freedom=freedom))

  return prepare


@jax.jit
def _over_largest(tree):
  """Absolute values over the largest of their layer."""
  share = lambda axes, x: x / jnp.maximum(jnp.max(x, axis=axes, keepdims=True), 1e-30)
  return trees.map_layers(share, jax.tree.map(jnp.abs, tree))
