"""Pushes forget pairs apart until each looks mismatched, and no further; trains on retain."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Margin, Weight


def make(
  optimizer: optax.GradientTransformation, *, margin: Margin = 0.0, retain: Weight = 1.0
) -> Method:
  """Descends on mean max(S_ii - t_i, 0) of forget + retain x L_CLIP of retain.

  The target t_i of a pair is the mean starting similarity of its image to the other captions of the
  batch, plus `margin`. This project's own: negative_gradient, direct_similarity and grad_diff
  have no place to stop. Reads forget, retain and the starting model. Moves all parameters.
  """
  tx = optax.chain(transforms.add_retain(retain), optimizer)
  return Method(losses.bounded_ascent(margin), losses.contrastive, tx)
