"""Gradient ascent on the contrastive loss of the forget pairs."""

import optax

from salmu_jax import losses
from salmu_jax.methods.base import Method


def make(optimizer, *, max_norm=1.0):
  """Ascends on forget, u <- -g, with the global norm of the gradient clipped at `max_norm`.

  Unclipped, the ascent runs away at learning rates that do anything at all: nothing bounds the loss.
  Golatkar et al., Eternal Sunshine of the Spotless Net (arXiv 1911.04933), as a baseline. Reads
  forget. Moves all parameters.
  """
  tx = optax.chain(optax.clip_by_global_norm(max_norm), optimizer)
  return Method(losses.ascent, losses.contrastive, tx, reads=("forget",))
