"""Merges weights within one budget: of several short runs, or of one run and its start."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from salmu_jax.ranges import Count, Factor, Share, Weight
from salmu_jax.transforms import rates, trees


class ReflectMergedState(NamedTuple):
  """count: (), steps taken. start: the starting parameters. inner: of the optimizer.

  total, low, high: sum, least and largest of the task vectors of the legs that are done.
  """

  count: jax.Array
  start: optax.Params
  inner: optax.OptState
  total: optax.Params
  low: optax.Params
  high: optax.Params


def reflect_merged(
  optimizer: optax.GradientTransformation,
  coefficient: Weight,
  legs: Count,
  steps: int,
  spread: Factor = 2.0,
) -> optax.GradientTransformationExtraArgs:
  """NegMerge: merges task vectors of several runs where they agree in sign, and negates them.

    theta <- theta0 - coefficient mean_k tau_k [all tau_k have one sign]

  The run is cut into legs of steps // legs updates. Each leg starts from theta0 with a fresh
  optimizer, and so with the warm-up and the first part of its schedule. Its updates are scaled by
  its own factor; the factors are spaced evenly in the logarithm from 1 / spread to spread. The
  last step makes the edit. Steps left over between the last leg and that step leave the weights at
  the start.

  Args:
    optimizer: of every leg. coefficient, legs: see above.
    steps: of the run, at least `legs`.
    spread: of the legs' learning rates.

  References:
    Kim et al., NegMerge (arXiv 2410.05583), equations 3 and 4. Their runs differ in more than
    learning rate and order of data.
  """
  length = steps // legs
  exponents = jnp.linspace(-1.0, 1.0, legs) if legs > 1 else jnp.zeros(1)

  def init(params):
    zeros = [trees.wide_zeros(params) for _ in range(3)]
    return ReflectMergedState(
      jnp.zeros((), jnp.int32), trees.copy(params), optimizer.init(params), *zeros
    )

  def update(updates, state, params, **extra_args):
    leg, at = state.count // length, state.count % length
    ends, last = (leg < legs) & (at == length - 1), state.count + 1 == steps
    first = lambda fresh, old: jnp.where(at == 0, fresh, old)
    restarted = rates.keep_rates(optimizer.init(state.start), state.inner)
    inner = jax.tree.map(first, restarted, state.inner)
    stepped, inner = optimizer.update(updates, inner, params, **extra_args)
    factor = jnp.where(leg < legs, jnp.power(spread, exponents[jnp.minimum(leg, legs - 1)]), 0.0)
    stepped = jax.tree.map(lambda u: factor.astype(u.dtype) * u, stepped)
    state = _gathered(state, stepped, params, leg, ends)._replace(inner=inner)
    weight = jnp.where(last, coefficient, 0.0)
    return _returning(stepped, state, params, legs, weight, last | ends), state

  return optax.GradientTransformationExtraArgs(init, update)


def _returning(updates, state, params, legs, weight, due):
  """The updates; where `due`, the step to the start less `weight` times the merged task vector."""

  def edit(u, p, s, total, low, high):
    merged = jnp.where((low > 0) | (high < 0), total / legs, 0)
    return jnp.where(due, s - weight * merged - p, u).astype(u.dtype)

  return jax.tree.map(edit, updates, params, state.start, state.total, state.low, state.high)


def _gathered(state, updates, params, leg, ends):
  """The state after this step; the task vector counts where the leg ends."""
  tau = jax.tree.map(lambda p, u, s: (p + u - s).astype(jnp.float32), params, updates, state.start)

  def fold(pick, old):
    new = lambda o, t: jnp.where(ends, jnp.where(leg == 0, t, pick(o, t)), o)
    return jax.tree.map(new, old, tau)

  return state._replace(
    count=state.count + 1,
    total=fold(jnp.add, state.total),
    low=fold(jnp.minimum, state.low),
    high=fold(jnp.maximum, state.high),
  )


class SoupState(NamedTuple):
  """count: (), steps taken. start: the starting parameters. average: of the weights, float32."""

  count: jax.Array
  start: optax.Params
  average: optax.Params


def soup(
  steps: int, share: Share = 0.5, decay: Share = 0.9, after: Share = 0.5
) -> optax.GradientTransformationExtraArgs:
  """In the last step, replaces the weights by a mix of the start and a moving average.

    theta <- share m + (1 - share) theta0,    m <- decay m + (1 - decay) theta

  The edit comes with the last of `steps` updates; earlier ones pass unchanged. In the first share
  `after` of the steps, the average is the current weights.

  References:
    Zhang et al., Targeted Forgetting of Image Subgroups in CLIP Models (arXiv 2506.03117),
    the reminding and the restoring stage; model souping as in Wortsman et al. (arXiv 2203.05482).
  """
  begin = round(after * steps)

  def init(params):
    zeros = jnp.zeros((), jnp.int32)
    return SoupState(zeros, trees.copy(params), trees.wide(trees.copy(params)))

  def update(updates, state, params, **extra_args):
    del extra_args
    last, old = state.count + 1 == steps, jnp.where(state.count > begin, decay, 0.0)
    weights = optax.tree.add(trees.wide(params), trees.wide(updates))
    average = jax.tree.map(lambda m, w: old * m + (1 - old) * w, state.average, weights)
    mixed = lambda u, p, s, m: jnp.where(last, share * m + (1 - share) * s - p, u).astype(u.dtype)
    souped = jax.tree.map(mixed, updates, params, state.start, average)
    return souped, SoupState(state.count + 1, state.start, average)

  return optax.GradientTransformationExtraArgs(init, update)
