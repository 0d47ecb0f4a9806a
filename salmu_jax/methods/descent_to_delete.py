"""Descent-to-Delete: fine-tunes on retain, then adds noise that hides what remains."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, steps: int, seed: int, sigma: Weight = 1e-3
) -> Method:
  """Fine-tunes on retain, and adds Gaussian noise to the weights with the last step.

    L_CLIP(retain);    theta <- theta + sigma N(0, 1) with the last step

  Reads retain. Moves all parameters.

  Source: Neel et al., Descent-to-Delete (arXiv 2007.02923), algorithm 1. There sigma follows from
  constants of strong convexity and certifies deletion. A CLIP model is not convex, so here sigma is
  a setting and certifies nothing.

  Args:
    optimizer, steps, seed: of the run.
    sigma: standard deviation of the noise.
  """
  tx = optax.chain(
    optax.set_to_zero(),
    transforms.add_retain(),
    optimizer,
    transforms.add_noise(sigma, steps, seed),
  )
  return Method(None, losses.contrastive, tx)
