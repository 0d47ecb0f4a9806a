"""Updates of matrices that vanish on what retain feeds into them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from salmu_jax.models import leaves
from salmu_jax.ranges import PositiveShare
from salmu_jax.runtime import hosts
from salmu_jax.transforms.measured import Prepare, filled

_PRECISION = jax.lax.Precision.HIGHEST
_TINY = 1e-30


class VacuumState(NamedTuple):
  """basis: for a matrix (m, n), the K input directions that retain uses most, (m, K) orthonormal
  columns or zeros; with a leading axis of layers where blocks are scanned. () for all else.
  """

  basis: optax.Params


def keep_vacuum(share: PositiveShare = 0.5) -> optax.GradientTransformationExtraArgs:
  """Projects the update of every matrix into the null space of retain's inputs.

    U <- U - B B' U,    for y = x U with B the main directions of retain's x

  so what a layer does to these inputs stays as it was, not just to first order. Other parameters
  pass. Before `find_vacuum` it changes nothing.

  Args:
    share: of a matrix's input directions that are taken out, at least one.

  References:
    Wang et al., VL-Eraser (CVPR 2026), where the directions with singular value 0 are the vacuum
    space. Here those with the smallest are, since few are 0.
  """

  def init(params):
    empty = lambda path, x: jnp.zeros(_shape(path, x.shape, share), jnp.float32)
    return VacuumState(jax.tree_util.tree_map_with_path(empty, params))

  def update(updates, state, params=None, **extra_args):
    del params, extra_args
    return jax.tree.map(_without, updates, state.basis), state

  return optax.GradientTransformationExtraArgs(init, update)


def find_vacuum() -> Prepare:
  """Finds the input directions that retain uses most, from its gradients.

  A matrix has the gradient G = X' D of its inputs X and the gradients D of its outputs, so the
  columns of G lie in the span of the inputs. The directions are the eigenvectors of the sum of G G'
  over the batches of the pass with the largest eigenvalues. The paper takes the inputs of images
  themselves, all alike; here an input weighs as much as the retain loss depends on what becomes of
  it.

  Returns:
    prepare(opt_state, gradients).
  """

  def prepare(opt_state, gradients):
    total = None
    for batch in gradients():
      total = _added(total, batch["retain"])
    fill = lambda state: VacuumState(_main_directions(total, state.basis))
    return filled(opt_state, VacuumState, fill)

  return prepare


def _shape(path, shape, share):
  """The shape of the directions of a parameter."""
  if not leaves.is_matrix(path) or len(shape) not in (2, 3):
    return ()
  *stack, rows, _ = shape
  return (*stack, rows, max(round(share * rows), 1))


def _without(update, basis):
  """The update without its part in the span of the basis."""
  if not basis.ndim:
    return update
  wide = update.astype(jnp.float32)
  parts = jnp.einsum("...mk,...mn->...kn", basis, wide, precision=_PRECISION)
  inside = jnp.einsum("...mk,...kn->...mn", basis, parts, precision=_PRECISION)
  return (wide - inside).astype(update.dtype)


@jax.jit
def _added(total, gradients):
  """The sums of G G' with those of one more batch; () for what is no matrix."""

  def squares(path, gradient):
    if not _shape(path, gradient.shape, 1.0):
      return jnp.zeros(())
    wide = gradient.astype(jnp.float32)
    return jnp.einsum("...mn,...kn->...mk", wide, wide, precision=_PRECISION)

  more = jax.tree_util.tree_map_with_path(squares, gradients)
  return more if total is None else jax.tree.map(jnp.add, total, more)


def _main_directions(squares, like):
  """The eigenvectors of the largest eigenvalues, in the shapes of `like`; zeros for those of 0."""

  def main(square, basis):
    if not basis.ndim:
      return basis
    values, vectors = np.linalg.eigh(square / max(np.abs(square).max(), _TINY))
    count = basis.shape[-1]
    used = values[..., -count:] > 1e-6 * np.maximum(values[..., -1:], _TINY)
    return jnp.asarray(vectors[..., -count:] * used[..., None, :], jnp.float32)

  return jax.tree.map(main, hosts.on_host(squares), like)
