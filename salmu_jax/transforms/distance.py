"""A term of the distance from the starting weights, before the optimizer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from salmu_jax.ranges import Positive
from salmu_jax.transforms import trees

_EPSILON = 1e-8  # as in the authors' code


class RewardDistanceState(NamedTuple):
  """start: the parameters the run started from."""

  start: optax.Params


def reward_distance(weight: Positive = 1.0) -> optax.GradientTransformationExtraArgs:
  """Adds the gradient of a reward of being far from the start.

    u <- u + grad of -weight sqrt(mean (theta - theta0)^2 + 1e-8)

  The mean runs over all N weights of the tree, so a weight gains -weight (theta - theta0) / (N
  distance). It has no gradient at the start; the losses set the direction.

  Args:
    weight: of the reward; 0 changes nothing.

  References:
    Siddiqui et al., From Dormant to Deleted (arXiv 2505.22310), the method that its code
    calls weight_dist_reg.
  """

  def init(params):
    return RewardDistanceState(trees.copy(params))

  def update(updates, state, params, **extra_args):
    del extra_args
    moved = optax.tree.sub(trees.wide(params), trees.wide(state.start))
    size = sum(x.size for x in jax.tree.leaves(moved))
    distance = jnp.sqrt(optax.tree.norm(moved, squared=True) / size + _EPSILON)
    rewarded = lambda u, m: (u - weight * m / (size * distance)).astype(u.dtype)
    return jax.tree.map(rewarded, updates, moved), state

  return optax.GradientTransformationExtraArgs(init, update)
