"""SLUG: ascends on forget in a single layer."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Count, Positive


def make(
  optimizer: optax.GradientTransformation, *, layers: Count = 1, max_norm: Positive = 1.0
) -> Method:
  """Ascends on forget in the `layers` weight matrices that forget needs most and retain least.

    -L_CLIP(forget), on the matrices of the Pareto front of |f| / |theta| and |cos(f, r)| with the
    largest |f| / |theta| (1 - |cos(f, r)|)

  The gradient is clipped as in `negative_gradient`. Reads forget, and both halves once before the
  first step. Moves the chosen layers.

  Source: Cai et al., Single Layer Unlearning Gradient (arXiv 2407.11867). They make a single step
  and search for its length. Here the layer is chosen in the same way but trained for the whole
  budget; the search over learning rates, the same for every method, replaces that for the length.

  Args:
    optimizer: of the run.
    layers: number of matrices.
    max_norm: largest global norm of the gradient.
  """
  clip = optax.clip_by_global_norm(max_norm)
  tx = optax.chain(clip, optimizer, transforms.select_layers())
  return Method(losses.ascent, losses.contrastive, tx, prepares=(transforms.find_layers(layers),))
