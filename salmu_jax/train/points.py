"""Where the forget gradient is taken: at the parameters, or where a relearning attack would go.

An update that forgets at one point of parameter space may be undone by a short path to another. A
`Point` chooses, in every step, at which parameters the gradient of the forget loss is taken; the
update still moves the parameters of the run. It sees the forget half of the batch, and is pure.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from salmu_jax import losses
from salmu_jax.losses import Loss
from salmu_jax.models import leaves
from salmu_jax.ranges import Count, Weight
from salmu_jax.transforms import trees

_SMALL = 1e-12  # a gradient as short as this has no direction


class Gradients(NamedTuple):
  """Gradients on the forget half of the batch, as functions of parameters.

  Zero for the image tower if the method does not move it.

  forget: forget(params) -> tree, of the loss that forgets. relearn: relearn(params) -> tree, of
    CLIP's contrastive loss, which an attacker descends on.
  """

  forget: Callable[[optax.Params], optax.Updates]
  relearn: Callable[[optax.Params], optax.Updates]


class Point(NamedTuple):
  """At which parameters the forget gradient is taken.

  init: init(params) -> state, which checkpoints hold in the optimizer's state.
  find: find(gradients, params, state) -> (parameters, state); `gradients` are a `Gradients`.
  """

  init: Callable[[optax.Params], Any]
  find: Callable[[Gradients, optax.Params, Any], tuple[optax.Params, Any]]


def sam(rho: Weight = 0.1) -> Point:
  """Sharpness-aware unlearning: at a distance, in the direction of fastest growth of the loss.

    f(theta + rho g / |g|),    g = f(theta)

  f is the gradient of the forget loss, the norm runs over the whole tree, and the retain gradient
  stays at theta, as in the authors' code. Costs one more gradient per step. `rho` 0 changes
  nothing.

  Args:
    rho: the distance, absolute.

  References:
    Fan et al., Towards LLM Unlearning Resilient to Relearning Attacks (arXiv 2502.05374), equation
    7; github.com/OPTML-Group/Unlearn-Smooth.
  """

  def find(gradients, params, state):
    g = gradients.forget(params)
    factor = rho / jnp.maximum(optax.tree.norm(trees.wide(g)), _SMALL)
    return jax.tree.map(lambda p, x: (p + factor * x).astype(p.dtype), params, g), state

  return Point(_no_state, find)


class AdversaryState(NamedTuple):
  """count: (), steps taken. params: of the adversary. moments: of its optimizer."""

  count: jax.Array
  params: optax.Params
  moments: optax.OptState


def adversary(learning_rate: Weight = 1e-3, every: Count = 5) -> Point:
  """At a copy of the model that relearns the batch: the update forgets what came back there.

  In every `every`-th step, the first included, the adversary is forked: it becomes a copy of the
  parameters, with a fresh optimizer. In each step it then takes one Adam step on the
  contrastive loss of the forget half, and the forget gradient is taken at its new parameters. Its
  state is three copies of the parameters. With `learning_rate` 0 and `every` 1 nothing changes.

  Args:
    learning_rate: of the adversary. every: steps from one fork to the next.

  References:
    Sondej et al., Robust LLM Unlearning with MUDMAN (arXiv 2506.12484), algorithm 1;
    github.com/filyp/MUDMAN. There the adversary takes plain gradient steps, the forget gradient
    comes before the step, is masked where it disagrees with retain's, and has length one. Tamirisa
    et al. (TAR, arXiv 2408.00761) add up first-order gradients along such a path of AdamW steps.
  """
  optimizer = optax.adam(learning_rate, b2=0.98)

  def init(params):
    count = jnp.zeros((), jnp.int32)
    return AdversaryState(count, trees.copy(params), optimizer.init(params))

  def find(gradients, params, state):
    forked = state.count % every == 0
    fork = lambda fresh, old: jnp.where(forked, fresh, old)
    moments = jax.tree.map(fork, optimizer.init(params), state.moments)
    copy = jax.tree.map(fork, params, state.params)
    updates, moments = optimizer.update(gradients.relearn(copy), moments, copy)
    copy = optax.apply_updates(copy, updates)
    return copy, AdversaryState(state.count + 1, copy, moments)

  return Point(init, find)


def contexts(radius: Weight = 0.5, search: Count = 3) -> Point:
  """Under perturbed token embeddings that bring the pairs of the batch back.

    e <- e - radius s / search g / |g|,    for every token of the batch, `search` times

  e is the embedding of a token, g the gradient there of the contrastive loss of the forget half,
  and s the root mean square of the lengths of the rows of the table, so no token moves further than
  radius s. All occurrences of a token in the batch share one perturbation, which is dropped after
  the step. `radius` 0 changes nothing.

  Args:
    radius: see above. search: how many steps; each takes one gradient.

  References:
    Sheshadri et al., Latent Adversarial Training (arXiv 2407.15549), equation 3, on the embedding
    layer; github.com/aengusl/latent-adversarial-training. There each text has its own
    perturbation, and the search is a projected descent.
  """

  def find(gradients, params, state):
    table = leaves.token_embedding(params)
    length = radius * jnp.sqrt(jnp.mean(jnp.sum(jnp.square(table.astype(jnp.float32)), axis=-1)))

    def move(_, moved):
      g = leaves.token_embedding(gradients.relearn(leaves.with_token_embedding(params, moved)))
      norms = jnp.maximum(jnp.linalg.norm(g, axis=-1, keepdims=True), _SMALL)
      return (moved - length / search * g / norms).astype(moved.dtype)

    moved = jax.lax.fori_loop(0, search, move, table)
    return leaves.with_token_embedding(params, moved), state

  return Point(_no_state, find)


def _no_state(params):
  del params
  return optax.EmptyState()


class PointState(NamedTuple):
  """point: the state of a `Point`. inner: of the transformation."""

  point: Any
  inner: optax.OptState


def keeping(
  tx: optax.GradientTransformation, point: Point
) -> optax.GradientTransformationExtraArgs:
  """`tx` whose state also holds the state of a point, which the step updates."""
  tx = optax.with_extra_args_support(tx)

  def init(params):
    return PointState(point.init(params), tx.init(params))

  def update(updates, state, params=None, **extra_args):
    updates, inner = tx.update(updates, state.inner, params, **extra_args)
    return updates, state._replace(inner=inner)

  return optax.GradientTransformationExtraArgs(init, update)


def forget_gradient(
  point: Point,
  gradient: Callable[[Loss], Callable],
  forgets: Loss,
  holds: Loss | None,
  params: optax.Params,
  state: PointState,
  still: bool,
) -> tuple[jax.Array, optax.Updates, PointState]:
  """(value, gradient, state): of the forget half, at a point.

  Args:
    point: says where. gradient: gradient(loss)(params) -> (value, tree), on the forget half.
    forgets: the loss whose gradient is taken at the point.
    holds: a loss whose gradient at `params` is added; None for none.
    params: of the run. state: of `keeping`.
    still: whether the image tower is fixed.
  """

  def moving(loss):
    def of(params):
      grads = gradient(loss)(params)[1]
      return grads | {"visual": optax.tree.zeros_like(grads["visual"])} if still else grads

    return of

  gradients = Gradients(moving(forgets), moving(losses.contrastive))
  where, kept = point.find(gradients, params, state.point)
  value, grads = gradient(forgets)(where)
  if holds is not None:
    more, held = gradient(holds)(params)
    value, grads = value + more, jax.tree.map(jnp.add, grads, held)
  return value, grads, state._replace(point=kept)
