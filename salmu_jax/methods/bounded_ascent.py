"""Gradient difference whose ascent stops, pair by pair, where the pair looks mismatched."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method


def make(optimizer, *, margin=0.0, retain=1.0):
  """Ascends on each forget pair down to the similarity of mismatched pairs, and descends on retain.

  The target of a pair is the mean starting similarity of its image to the other captions of the
  batch, plus `margin`. This project's own: what negative_gradient and grad_diff lack is a place to
  stop. Reads forget, retain and the starting model. Moves all parameters.
  """
  tx = optax.chain(transforms.add_retain(retain), optimizer)
  return Method(losses.bounded_ascent(margin), losses.contrastive, tx)
