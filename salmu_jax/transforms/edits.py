"""Weight edits: the weights change once, in the last step of the edit's own budget.

Some gather statistics of the data until then, and move nothing; the others let the optimizer
fine-tune, and edit the result. `steps` is the length of the run.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from salmu_jax.ranges import Positive, Share, Weight
from salmu_jax.transforms import trees


def _add_squares(total, gradients):
  return jax.tree.map(lambda s, g: s + jnp.square(g.astype(jnp.float32)), total, gradients)


def _noise(params, seed, last):
  """Standard normal noise like `params`, float32, a key for each array; zeros before the last
  step.
  """
  leaves, tree = jax.tree.flatten(params)

  def draw():
    key = jax.random.key(seed)
    return [jax.random.normal(jax.random.fold_in(key, i), x.shape) for i, x in enumerate(leaves)]

  skip = lambda: [jnp.zeros(x.shape, jnp.float32) for x in leaves]
  return jax.tree.unflatten(tree, jax.lax.cond(last, draw, skip))


class DampenState(NamedTuple):
  """count: (), steps taken. forget, retain: sums of squared gradients, float32."""

  count: jax.Array
  forget: optax.Params
  retain: optax.Params


def dampen(alpha: Weight, strength: Weight, steps: int) -> optax.GradientTransformationExtraArgs:
  """Selective synaptic dampening: shrinks weights that matter much more for forget than for all.

    where F_forget > alpha F_all:  theta <- min(strength F_all / F_forget, 1) theta

  F are the sums of squared batch gradients at the starting parameters. F_all is measured on retain;
  the paper measures it on the whole training data.

  Args:
    alpha: how much more; infinity changes nothing. strength: lambda in the paper.
    steps: how many batches are read; the edit comes with the last.

  Extra args:
    retain_grads: a tree like the updates.

  References:
    Foster et al., Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening
    (AAAI 2024, arXiv 2308.07707), equations 7 and 8.
  """

  def init(params):
    return DampenState(jnp.zeros((), jnp.int32), trees.wide_zeros(params), trees.wide_zeros(params))

  def update(updates, state, params, *, retain_grads, **extra_args):
    del extra_args
    forget = _add_squares(state.forget, updates)
    retain = _add_squares(state.retain, retain_grads)
    last = state.count + 1 == steps

    def edit(p, f, r):
      factor = jnp.minimum(strength * r / jnp.maximum(f, trees.TINY), 1.0)
      # Products instead of ratios: 0 > inf * 0 is false, as it should be.
      return jnp.where(last & (f > alpha * r), (factor - 1) * p, 0).astype(p.dtype)

    return jax.tree.map(edit, params, forget, retain), DampenState(state.count + 1, forget, retain)

  return optax.GradientTransformationExtraArgs(init, update)


class AddNoiseByImportanceState(NamedTuple):
  """count: (), steps taken. retain: sums of squared gradients, float32."""

  count: jax.Array
  retain: optax.Params


def add_noise_by_importance(
  alpha: Weight, steps: int, seed: int, power: Share = 0.5, limit: Weight = 0.1
) -> optax.GradientTransformationExtraArgs:
  """Fisher forgetting: noise on the weights, larger where retain needs them less.

    theta <- theta + (alpha / F_retain)^power N(0, 1)

  F_retain is the mean of squared batch gradients. The paper derives the power 1/4; its public code
  has 1/2. The standard deviation is at most `limit` times the root mean square of the weight's
  layer, because F is close to 0 for many weights.

  Args:
    alpha: the strength. seed: of the noise. power, limit: see above.
    steps: how many batches are read; the edit comes with the last.

  Extra args:
    retain_grads: a tree like the updates.

  References:
    Golatkar et al., Eternal Sunshine of the Spotless Net (arXiv 1911.04933), proposition 4.
  """

  def init(params):
    return AddNoiseByImportanceState(jnp.zeros((), jnp.int32), trees.wide_zeros(params))

  def update(updates, state, params, *, retain_grads, **extra_args):
    del updates, extra_args
    retain = _add_squares(state.retain, retain_grads)
    last = state.count + 1 == steps

    def edit(axes, p, r, noise):
      fisher = jnp.maximum(r / steps, trees.TINY)
      size = jnp.sqrt(jnp.mean(jnp.square(p.astype(jnp.float32)), axis=axes, keepdims=True))
      deviation = jnp.minimum((alpha / fisher) ** power, limit * size)
      return (deviation * noise).astype(p.dtype)

    edited = trees.map_layers(edit, params, retain, _noise(params, seed, last))
    return edited, AddNoiseByImportanceState(state.count + 1, retain)

  return optax.GradientTransformationExtraArgs(init, update)


class AddNoiseState(NamedTuple):
  """count: (), steps taken."""

  count: jax.Array


def add_noise(sigma: Positive, steps: int, seed: int) -> optax.GradientTransformationExtraArgs:
  """Adds sigma N(0, 1) to the last of `steps` updates; earlier ones pass unchanged.

  References:
    Neel et al., Descent-to-Delete (arXiv 2007.02923), algorithm 1.
  """

  def init(params):
    del params
    return AddNoiseState(jnp.zeros((), jnp.int32))

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    last = state.count + 1 == steps
    add = lambda u, noise: (u + sigma * noise).astype(u.dtype)
    noisy = jax.tree.map(add, updates, _noise(updates, seed, last))
    return noisy, AddNoiseState(state.count + 1)

  return optax.GradientTransformationExtraArgs(init, update)


class ReflectState(NamedTuple):
  """count: (), steps taken. start: the starting parameters."""

  count: jax.Array
  start: optax.Params


def reflect(coefficient: Positive, steps: int) -> optax.GradientTransformationExtraArgs:
  """Negates a task vector: goes back through the start.

    theta <- theta0 - coefficient (theta_steps - theta0)

  The edit comes with the last of `steps` updates; earlier ones pass unchanged. Coefficient 0
  returns the start.

  References:
    Ilharco et al., Editing Models with Task Arithmetic (arXiv 2212.04089), section 3.
  """

  def init(params):
    return ReflectState(jnp.zeros((), jnp.int32), trees.copy(params))

  def update(updates, state, params, **extra_args):
    del extra_args
    last = state.count + 1 == steps

    def edit(u, p, s):
      return jnp.where(last, s - coefficient * (p + u - s) - p, u).astype(u.dtype)

    edited = jax.tree.map(edit, updates, params, state.start)
    return edited, ReflectState(state.count + 1, state.start)

  return optax.GradientTransformationExtraArgs(init, update)
