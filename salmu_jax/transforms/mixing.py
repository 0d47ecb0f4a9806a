"""Mixes the forget and the retain gradient into one update, before the optimizer in a chain."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from salmu_jax.ranges import Count, Positive, SignedWeight
from salmu_jax.transforms import trees


def add_retain(weight: Positive = 1.0) -> optax.GradientTransformationExtraArgs:
  """Adds the gradient of the retain loss, u <- u + weight * r.

  Args:
    weight: factor on the retain gradient.

  Extra args:
    retain_grads: a tree like the updates.

  Example:
    `optax.chain(optax.scale(-1.0), add_retain(), optax.adam(1e-5))` is gradient difference
    (Liu et al., Continual Learning and Private Unlearning, 2022).
  """

  def init(params):
    del params
    return optax.EmptyState()

  def update(updates, state, params=None, *, retain_grads, **extra_args):
    del params, extra_args
    added = jax.tree.map(lambda u, r: u + (weight * r).astype(u.dtype), updates, retain_grads)
    return added, state

  return optax.GradientTransformationExtraArgs(init, update)


class ProjectConflictsState(NamedTuple):
  """cosine: (), between the update and the retain gradient before projection."""

  cosine: jax.Array


def project_conflicts() -> optax.GradientTransformationExtraArgs:
  """Removes from the update whatever points against the retain gradient.

  With u the update and r the gradient of the retain loss,

    u <- u - min(<u, r>, 0) / <r, r> * r

  Where the two conflict, a step along -u then leaves the retain loss unchanged to first order;
  where they agree, u stays as it is. Inner products run over the whole tree.

  Extra args:
    retain_grads: a tree like the updates.

  References:
    Yu et al., Gradient Surgery for Multi-Task Learning (arXiv 2001.06782), algorithm 1; there both
    gradients are projected, here the retain gradient stays as it is.
  """

  def init(params):
    del params
    return ProjectConflictsState(cosine=jnp.zeros(()))

  def update(updates, state, params=None, *, retain_grads, **extra_args):
    del state, params, extra_args
    u, r = trees.wide(updates), trees.wide(retain_grads)
    dot, square = optax.tree.vdot(u, r), optax.tree.norm(r, squared=True)
    coefficient = jnp.minimum(dot, 0.0) / jnp.maximum(square, trees.TINY)
    cosine = dot / jnp.maximum(optax.tree.norm(u) * jnp.sqrt(square), trees.TINY)
    projected = jax.tree.map(lambda x, a, b: (a - coefficient * b).astype(x.dtype), updates, u, r)
    return projected, ProjectConflictsState(cosine)

  return optax.GradientTransformationExtraArgs(init, update)


class MunbaState(NamedTuple):
  """weights: (2,), the factors on the forget and the retain gradient."""

  weights: jax.Array


def munba() -> optax.GradientTransformationExtraArgs:
  """Nash bargaining between forget and retain.

    u <- a_f f + a_r r,    with G a = 1 / a,  G the Gram matrix of the two gradients

  For two players this has the closed form a_k = 1 / (|g_k| sqrt(1 + cos)): both gradients are
  scaled to length one, and their sum is longer the more they conflict. `cos` is clipped at -0.99,
  since at -1 no agreement exists.

  Extra args:
    retain_grads: a tree like the updates.

  References:
    Wu and Harandi, MUNBa: Machine Unlearning via Nash Bargaining (arXiv 2411.15537), section 3.
  """

  def init(params):
    del params
    return MunbaState(jnp.ones(2))

  def update(updates, state, params=None, *, retain_grads, **extra_args):
    del state, params, extra_args
    f, r = trees.wide(updates), trees.wide(retain_grads)
    norms = jnp.maximum(jnp.stack([optax.tree.norm(f), optax.tree.norm(r)]), 1e-12)
    cosine = jnp.maximum(optax.tree.vdot(f, r) / norms[0] / norms[1], -0.99)
    a = 1 / (norms * jnp.sqrt(1 + cosine))
    mixed = jax.tree.map(lambda x, p, q: (a[0] * p + a[1] * q).astype(x.dtype), updates, f, r)
    return mixed, MunbaState(a)

  return optax.GradientTransformationExtraArgs(init, update)


class AlternateState(NamedTuple):
  """count: (), steps taken."""

  count: jax.Array


def alternate(until: Count) -> optax.GradientTransformationExtraArgs:
  """Follows retain gradients in even steps, forget gradients in odd ones; from `until` only retain.

  Retain comes first: a loss that compares with the starting model has no gradient there, and Adam
  would scale its rounding errors up to a whole step.

  Args:
    until: the step, counted from 0, from which on only the retain gradient is followed.

  Extra args:
    retain_grads: a tree like the updates.

  References:
    Kurmanji et al., Towards Unbounded Machine Unlearning (SCRUB, arXiv 2302.09880), algorithm 1;
    there whole epochs alternate, here steps.
  """

  def init(params):
    del params
    return AlternateState(jnp.zeros((), jnp.int32))

  def update(updates, state, params=None, *, retain_grads, **extra_args):
    del params, extra_args
    forget = (state.count % 2 == 1) & (state.count < until)
    chosen = jax.tree.map(
      lambda u, r: jnp.where(forget, u, r.astype(u.dtype)), updates, retain_grads
    )
    return chosen, AlternateState(state.count + 1)

  return optax.GradientTransformationExtraArgs(init, update)


class InStagesState(NamedTuple):
  """count: (), steps taken."""

  count: jax.Array


def in_stages(until: Count, weight: SignedWeight = 0.0) -> optax.GradientTransformationExtraArgs:
  """Follows the forget gradient plus some of the retain gradient, then the retain gradient alone.

    u <- u + weight r  before step `until`,    u <- r  from then on

  Args:
    until: the step, counted from 0, at which the second stage begins.
    weight: of the retain gradient in the first stage; below 0, that stage ascends on retain.

  Extra args:
    retain_grads: a tree like the updates.
  """

  def init(params):
    del params
    return InStagesState(jnp.zeros((), jnp.int32))

  def update(updates, state, params=None, *, retain_grads, **extra_args):
    del params, extra_args
    first = state.count < until
    chosen = lambda u, r: jnp.where(first, u + weight * r, r).astype(u.dtype)
    return jax.tree.map(chosen, updates, retain_grads), InStagesState(state.count + 1)

  return optax.GradientTransformationExtraArgs(init, update)
