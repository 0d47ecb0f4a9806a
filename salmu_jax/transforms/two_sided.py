"""Projects updates of matrices away from the leading directions of their inputs and outputs.

These directions are measured before the first step, as in `salmu_jax.transforms.measured`.
"""

import functools
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from salmu_jax.models import leaves
from salmu_jax.ranges import OneOf, PositiveShare
from salmu_jax.runtime import hosts
from salmu_jax.transforms import trees
from salmu_jax.transforms.measured import Prepare, filled

_SIDES = ("inputs", "outputs")
Half = Annotated[str, OneOf(("forget", "retain"))]
Sides = Annotated[str, OneOf((*_SIDES, "both"))]
# Eigenvalues below this share of the largest are rounding.
_ROUNDING = 1e-6


class ProjectBothState(NamedTuple):
  """removed: {half: {side: tree}}. A tree is like the parameters. Each matrix (in, out) is replaced
  by the projector onto the directions to remove, (in, in) or (out, out), which is zero until it is
  measured. Other leaves are empty. Scanned blocks have a projector for each layer.
  """

  removed: dict[str, dict[str, optax.Params]]


def project_both(half: Half, sides: Sides = "both") -> optax.GradientTransformationExtraArgs:
  """Projects the update of each matrix away from the leading inputs and output gradients of a half.

    U <- P_in U P_out,    P = I - sum_k v_k v_k',    v_k from `find_subspaces`

  With a an input of the layer and g the gradient of its output, the gradient of a kernel (in, out)
  is G = sum a g' over tokens. An update without the inputs of retain (a'U = 0) leaves the layer's
  outputs there as they are, however long the step. One without the output gradients (U g = 0)
  leaves the loss as it is to first order. The patch kernel counts as a matrix. Tables, gains and
  biases pass unchanged: hold them with `train_only`. The state holds up to two square matrices for
  each matrix.

  Published methods as arguments, all with batch gradients in the place of token vectors:
    Gradient projection memory: half "retain", sides "inputs". Its threshold is our share. It
      projects gradients, this projects updates; both are one under plain SGD.
    AlphaEdit's P: half "retain", sides "inputs", on the matrices that it edits. It removes the
      eigenvectors with eigenvalues above 1e-2, whatever share of the trace they hold.
    CIR: half "forget", sides "both", under SGD. What many forget tokens share is removed, what is
      special to one stays. CIR centres first; the trace here includes the mean. CIR projects a and
      g of each token, which is the same as projecting their sum.
    VL-Eraser's vacuum: half "retain", sides "inputs", as `salmu_jax.methods.vl_eraser` reads it.

  Args:
    half: the half that is measured. sides: what is removed: inputs, output gradients or both.

  References:
    Sondej and Yang, Collapse of Irrelevant Representations (CIR, arXiv 2509.11816);
    Saha et al., Gradient Projection Memory (arXiv 2103.09762), equation 9;
    Fang et al., AlphaEdit (arXiv 2410.02355), section 3; VL-Eraser (CVPR 2026).
  """
  chosen = _SIDES if sides == "both" else (sides,)

  def init(params):
    return ProjectBothState({half: {side: _zeros(params, side) for side in chosen}})

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    projectors = [state.removed[half][side] for side in chosen]
    project = lambda path, u, *removed: _projected(path, u, dict(zip(chosen, removed, strict=True)))
    return jax.tree_util.tree_map_with_path(project, updates, *projectors), state

  return optax.GradientTransformationExtraArgs(init, update)


def find_subspaces(half: Half, share: PositiveShare = 0.9) -> Prepare:
  """Finds what `project_both` of the same half removes.

  With G the gradients of batches, sum G G' = sum_st (g_s . g_t) a_s a_t' over pairs of tokens of a
  batch is an uncentred covariance of the inputs, weighted by how alike their output gradients are;
  sum G'G is one of the output gradients. Of each, the fewest leading eigenvectors that hold `share`
  of the trace are removed. Inputs that cancel in a batch, or have no output gradient, are not
  seen. A share of 1 removes all that was seen, which over many tokens can be everything.

  Args:
    half: as of `project_both`. share: of the trace, for each matrix and side.

  Returns:
    prepare(opt_state, gradients).
  """

  def prepare(opt_state, gradients):
    total, sides = None, _sides_of(opt_state, half)
    for batch in gradients():
      part = _products(batch[half], sides)
      total = part if total is None else jax.tree.map(jnp.add, total, part)
    removed = jax.tree.map(lambda x: _leading(x, share), hosts.on_host(total))

    def fill(state):
      # Arrays of its own for each state: the step donates them.
      own = {k: jax.tree.map(jnp.array, removed[k]) for k in state.removed.get(half, ())}
      return ProjectBothState({half: own}) if own else state

    return filled(opt_state, ProjectBothState, fill)

  return prepare


def _sides_of(opt_state, half):
  """The sides that states of a half remove; no others need be measured."""
  ours = lambda x: isinstance(x, ProjectBothState)
  states = filter(ours, jax.tree.leaves(opt_state, is_leaf=ours))
  used = {side for state in states for side in state.removed.get(half, ())}
  return tuple(side for side in _SIDES if side in used)


def _as_matrix(path: Sequence, x: jax.Array) -> jax.Array | None:
  """A leaf as a matrix (in, out), or a stack of them; None if it does not map features."""
  stack = 1 if leaves.is_scanned(path) else 0
  if not leaves.is_matrix(path) or x.ndim < stack + 2:
    return None
  return x.reshape(*x.shape[:stack], -1, x.shape[-1])


def _zeros(params, side):
  """The projectors onto nothing."""

  def square(path, x):
    matrix = _as_matrix(path, x)
    if matrix is None:
      return optax.MaskedNode()
    *stack, rows, columns = matrix.shape
    size = rows if side == "inputs" else columns
    return jnp.zeros((*stack, size, size), jnp.float32)

  return jax.tree_util.tree_map_with_path(square, params)


def _projected(path, u, removed):
  """The update of one leaf without what {side: projector} holds."""
  matrix = _as_matrix(path, u)
  if matrix is None:
    return u
  wide = matrix.astype(jnp.float32)
  for side, projector in removed.items():
    wide -= _times(projector, wide) if side == "inputs" else _times(wide, projector)
  return wide.reshape(u.shape).astype(u.dtype)


@functools.partial(jax.jit, static_argnums=1)
def _products(gradients, sides):
  """{"inputs": G G', "outputs": G'G} of these sides, trees like the gradients G."""

  def product(side, path, g):
    matrix = _as_matrix(path, g)
    if matrix is None:
      return optax.MaskedNode()
    other = matrix.swapaxes(-1, -2)
    return _times(matrix, other) if side == "inputs" else _times(other, matrix)

  of = lambda side: lambda path, g: product(side, path, g)
  wide = trees.wide(gradients)
  return {side: jax.tree_util.tree_map_with_path(of(side), wide) for side in sides}


def _leading(covariance: np.ndarray, share: float) -> np.ndarray:
  """(..., N, N) -> the projectors onto the fewest eigenvectors that hold a share of the trace."""
  values, vectors = np.linalg.eigh(covariance.astype(np.float64))
  values, vectors = np.maximum(values[..., ::-1], 0), vectors[..., ::-1]
  before = np.cumsum(values, axis=-1) - values
  leading = before < share * values.sum(axis=-1, keepdims=True)
  chosen = vectors * (leading & (values > _ROUNDING * values[..., :1]))[..., None, :]
  return (chosen @ chosen.swapaxes(-1, -2)).astype(np.float32)


def _times(a, b):
  return jnp.matmul(a, b, precision="highest")
