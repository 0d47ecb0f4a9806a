"""UNDO: adds noise in mid-run; losses then compare with the model just before the noise."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax

from salmu_jax.models import leaves
from salmu_jax.ranges import Range, Share
from salmu_jax.transforms import trees

_Inside = Annotated[float, Range(0, 1, above=True, below=True)]


class UndoState(NamedTuple):
  """count: (), steps taken. teacher: the starting parameters; later those before the noise."""

  count: jax.Array
  teacher: optax.Params


def undo(
  alpha: Share = 0.3, beta: Share = 0.1, share: _Inside = 0.5, *, steps: int, seed: int
) -> optax.GradientTransformationExtraArgs:
  """Damages the text tower once, so that the rest of the run distils the model so far into it.

    theta <- (1 - alpha) theta + alpha beta N

  N is Glorot's uniform noise for matrices and tables, and zero for gains and biases. The noise
  comes with the update after `share` of the steps. Until then, losses that compare do so with the
  start; afterwards, with the parameters just before the noise, the teacher (`teacher`). So a
  loss that holds captions where they were becomes distillation on these captions. It stands after
  the optimizer, whose rates and moments continue. `steps` is the length of the run, `seed` that of
  the noise.

  References:
    Lee et al., Distillation Robustifies Unlearning (UNDO, arXiv 2506.06278), section 5;
    github.com/AddieFoote/distillation-robustify-unlearning. There the student learns the teacher's
    predictions on all data, under a schedule of its own.
  """
  at = min(max(round(share * steps), 1), steps)

  def init(params):
    return UndoState(jnp.zeros((), jnp.int32), trees.copy(params))

  def update(updates, state, params, **extra_args):
    del extra_args
    due = state.count + 1 == at
    after = optax.apply_updates(params, updates)
    teacher = jax.tree.map(lambda new, old: jnp.where(due, new, old), after, state.teacher)
    noise = jax.lax.cond(
      due,
      lambda: _noise(params["text"], seed),
      lambda: jax.tree.map(jnp.zeros_like, params["text"]),
    )
    damaged = lambda u, p, n: u + jnp.where(due, alpha, 0.0).astype(u.dtype) * (beta * n - p)
    text = jax.tree.map(damaged, updates["text"], after["text"], noise)
    return {**updates, "text": text}, UndoState(state.count + 1, teacher)

  return optax.GradientTransformationExtraArgs(init, update)


def _noise(params, seed):
  """Glorot's uniform noise like `params`, a key for each array; zeros where there is no matrix."""
  flat, tree = jax.tree_util.tree_flatten_with_path(params)
  key = jax.random.key(seed)

  def draw(number, path, x):
    if x.ndim - leaves.is_scanned(path) < 2:
      return jnp.zeros_like(x)
    limit = (6 / (x.shape[-2] + x.shape[-1])) ** 0.5
    return jax.random.uniform(jax.random.fold_in(key, number), x.shape, x.dtype, -limit, limit)

  return jax.tree.unflatten(tree, [draw(k, path, x) for k, (path, x) in enumerate(flat)])


def teacher(opt_state: optax.OptState, otherwise: optax.Params | None) -> optax.Params | None:
  """The parameters that losses compare with: those of `undo` in an optimizer's state, if any."""
  ours = lambda x: isinstance(x, UndoState)
  found = filter(ours, jax.tree.leaves(opt_state, is_leaf=ours))
  return next((state.teacher for state in found), otherwise)
