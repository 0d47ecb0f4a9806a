"""Unlearning as optax gradient transformations.

The update that enters a chain is the gradient of the forget loss; the gradient of the retain loss
rides along as the keyword-only extra argument `retain_grads`, a tree like the updates.
"""

import jax
import optax


def add_retain(weight=1.0):
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
