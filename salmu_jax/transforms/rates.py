"""Learning rates as data: a table in the optimizer's state, one rate for every step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax


class ScaleByRatesState(NamedTuple):
  """count: (), steps taken. rates: (T,) float32, the learning rate of every step."""

  count: jax.Array
  rates: jax.Array


def scale_by_rates(rates: np.ndarray) -> optax.GradientTransformationExtraArgs:
  """Scales updates by the learning rate of their step.

    u <- rates[count] u

  Steps beyond the table take its last rate. The table is part of the state, so one compiled step
  serves every table of the same length, see `replace_rates`.

  Args:
    rates: (T,), the learning rate of every step.
  """

  def init(params):
    del params
    return ScaleByRatesState(jnp.zeros((), jnp.int32), jnp.array(rates, jnp.float32))

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    rate = jnp.take(state.rates, state.count, mode="clip")
    updates = jax.tree.map(lambda u: rate.astype(u.dtype) * u, updates)
    return updates, state._replace(count=optax.safe_increment(state.count))

  return optax.GradientTransformationExtraArgs(init, update)


def replace_rates(
  opt_state: optax.OptState, table: Callable[[jax.Array], jax.Array]
) -> optax.OptState:
  """`opt_state` with table(rates) instead of every table of rates; a state without one as it is."""
  replace = lambda state: state._replace(rates=table(state.rates)) if _has_rates(state) else state
  return jax.tree.map(replace, opt_state, is_leaf=_has_rates)


def keep_rates(fresh: optax.OptState, opt_state: optax.OptState) -> optax.OptState:
  """A fresh state of the same optimizer with the tables of rates of `opt_state`."""
  keep = lambda new, old: new._replace(rates=old.rates) if _has_rates(new) else new
  return jax.tree.map(keep, fresh, opt_state, is_leaf=_has_rates)


def rates_of(opt_state: optax.OptState) -> np.ndarray | None:
  """(T,) the learning rate of every step that a state holds; None where it holds no table."""
  leaves = jax.tree.leaves(opt_state, is_leaf=_has_rates)
  return next((np.array(leaf.rates) for leaf in leaves if _has_rates(leaf)), None)


def _has_rates(state):
  return isinstance(state, ScaleByRatesState)
