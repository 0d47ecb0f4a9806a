"""SLUG: ascent on forget in a single layer."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Count, Positive


def make(
  optimizer: optax.GradientTransformation, *, layers: Count = 1, max_norm: Positive = 1.0
) -> Method:
  """Ascends on forget in the `layers` weight matrices that forget needs most and retain least.

  Cai et al., Single Layer Unlearning Gradient (arXiv 2407.11867). There a single step is made, and
  its length is searched for. Here the layer is chosen in the same way and trained for the budget;
  the search over learning rates, the same for every method, takes the place of that for the length.
  Reads forget, and both halves once before the first step. Moves the chosen layers.
  """
  clip = optax.clip_by_global_norm(max_norm)
  tx = optax.chain(clip, optimizer, transforms.select_layers())
  return Method(losses.ascent, losses.contrastive, tx, prepares=(transforms.find_layers(layers),))
