"""Minimising the cosine of the forget pairs directly."""

import optax

from salmu_jax import losses
from salmu_jax.methods.base import Method


def make(optimizer):
  """Descends on the mean cosine of the forget pairs; only the budget stops it above -1."""
  tx = optax.with_extra_args_support(optimizer)
  return Method(losses.pair_similarity, losses.contrastive, tx, reads=("forget",))
