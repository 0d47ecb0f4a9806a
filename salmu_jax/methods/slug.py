"""SLUG: ascent on forget in a single layer."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Count, Positive


def make(
  optimizer: optax.GradientTransformation, *, layers: Count = 1, max_norm: Positive = 1.0
) -> Method:
  """Ascends on forget in the `layers` weight matrices with most to gain on forget and least to
  lose.

  Cai et al., Single Layer Unlearning Gradient (arXiv 2407.11867). There one gradient is followed
  and the length of that one step is searched for; here the layer is chosen as there and trained for
  the budget, so that the search over learning rates, the same for every method, finds the length.
  Reads forget, and both halves once before the first step. Moves the chosen layers.
  """
  clip = optax.clip_by_global_norm(max_norm)
  tx = optax.chain(clip, optimizer, transforms.select_layers())
  return Method(losses.ascent, losses.contrastive, tx, prepares=(transforms.find_layers(layers),))
