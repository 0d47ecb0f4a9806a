"""Descent-to-Delete: fine-tuning on retain, then noise that hides what is left."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, steps: int, seed: int, sigma: Weight = 1e-3
) -> Method:
  """Descends on the contrastive loss of retain; the last step adds sigma x N(0, 1) to the weights.

  Neel et al., Descent-to-Delete (arXiv 2007.02923), algorithm 1. There sigma follows from constants
  of strong convexity and certifies deletion. A CLIP model is not convex, so here sigma is a setting
  and certifies nothing. Reads retain. Moves all parameters.
  """
  tx = optax.chain(
    optax.set_to_zero(),
    transforms.add_retain(),
    optimizer,
    transforms.add_noise(sigma, steps, seed),
  )
  return Method(None, losses.contrastive, tx)
