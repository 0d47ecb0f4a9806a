"""Limits after the optimizer: to some of the parameters, or to a ball around the start."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from salmu_jax.errors import InputError
from salmu_jax.ranges import Positive
from salmu_jax.transforms import trees


def paths(params: optax.Params) -> optax.Params:
  """A tree like `params` of names such as "visual/transformer/block_0/ln_1/scale"."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params
  )


def train_only(patterns: str | Sequence[str]) -> optax.GradientTransformationExtraArgs:
  """Updates only the parameters whose names match a pattern; the others keep their bits.

  Args:
    patterns: one regular expression or several, searched for in names such as
      "text/transformer/block_0/in_proj/kernel": "^visual/" and "^text/" are the towers.

  Raises:
    InputError: from `init`, if a pattern is no regular expression or matches nothing.
  """
  compiled = [_compiled(pattern) for pattern in _listed(patterns)]

  def init(params):
    names = jax.tree.leaves(paths(params))
    for pattern in compiled:
      if not any(pattern.search(name) for name in names):
        raise InputError(
          f"train_only: {pattern.pattern!r} matches no parameter. Names are like {names[0]!r}; the "
          f"first parts are {', '.join(sorted({name.split('/')[0] for name in names}))}."
        )
    return optax.EmptyState()

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    kept = jax.tree.map(
      lambda chosen, u: u if chosen else jnp.zeros_like(u), _chosen(compiled, updates), updates
    )
    return kept, state

  return optax.GradientTransformationExtraArgs(init, update)


def only(
  optimizer: optax.GradientTransformation, patterns: str | Sequence[str]
) -> optax.GradientTransformationExtraArgs:
  """An optimizer for some of the parameters; the others keep their bits, and cost no gradient and
  no state.

  Args:
    optimizer: a transformation. patterns: see `train_only`.

  Raises:
    InputError: see `train_only`.
  """
  compiled = [_compiled(pattern) for pattern in _listed(patterns)]
  return optax.chain(
    optax.masked(optimizer, lambda params: _chosen(compiled, params)), train_only(patterns)
  )


def _chosen(compiled, tree):
  """A tree of bool: whether a parameter's name matches one of the patterns."""
  return jax.tree.map(lambda name: any(p.search(name) for p in compiled), paths(tree))


def _listed(patterns):
  listed = [patterns] if isinstance(patterns, str) else patterns
  if not isinstance(listed, list | tuple) or not listed:
    raise InputError(
      f"train_only: patterns = {patterns!r}; it must be a regular expression or several, such as "
      "'^text/'."
    )
  return listed


def _compiled(pattern):
  try:
    return re.compile(pattern)
  except (re.error, TypeError) as error:
    raise InputError(f"train_only: {pattern!r} is no regular expression: {error}.") from None


class TrustRegionState(NamedTuple):
  """start: the parameters the run started from."""

  start: optax.Params


def trust_region(radius: Positive) -> optax.GradientTransformationExtraArgs:
  """Keeps the parameters within a ball around the start.

    theta + u <- theta0 + min(1, R / |theta + u - theta0|) (theta + u - theta0),   R = radius
    |theta0|

  An update that stays inside passes unchanged. Norms run over the whole tree.

  Args:
    radius: of the ball, as a share of the norm of the starting parameters.
  """

  def init(params):
    return TrustRegionState(trees.copy(params))

  def update(updates, state, params, **extra_args):
    del extra_args
    wide = trees.wide
    moved = jax.tree.map(lambda p, u, s: wide(p) + wide(u) - wide(s), params, updates, state.start)
    limit = radius * optax.tree.norm(trees.wide(state.start))
    size = optax.tree.norm(moved)

    def pulled_back(p, u, s, m):
      back = (wide(s) + limit / size * m - wide(p)).astype(u.dtype)
      return jnp.where(size > limit, back, u)

    return jax.tree.map(pulled_back, params, updates, state.start, moved), state

  return optax.GradientTransformationExtraArgs(init, update)
