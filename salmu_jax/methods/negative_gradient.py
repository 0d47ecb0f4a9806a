"""Negative gradient: ascends on the contrastive loss of the forget pairs."""

import optax

from salmu_jax import losses
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Positive


def make(optimizer: optax.GradientTransformation, *, max_norm: Positive = 1.0) -> Method:
  """Ascends on the contrastive loss of the forget pairs, with a clipped gradient.

    -L_CLIP(forget),    with the global norm of its gradient clipped at max_norm

  Nothing bounds the loss: at a learning rate slightly too high, every cosine collapses below zero.
  Clipping delays this under plain gradient steps, and hardly under Adam, which rescales them. Reads
  forget. Moves all parameters.

  Source: Golatkar et al., Eternal Sunshine of the Spotless Net (arXiv 1911.04933), as a baseline.

  Args:
    optimizer: of the run.
    max_norm: largest global norm of the gradient.
  """
  tx = optax.chain(optax.clip_by_global_norm(max_norm), optimizer)
  return Method(losses.ascent, None, tx)
