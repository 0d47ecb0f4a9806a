"""Weight distortion: adds noise to the weights, then fine-tunes on retain."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(optimizer: optax.GradientTransformation, *, seed: int, sigma: Weight = 0.02) -> Method:
  """Adds Gaussian noise to the weights with the first step, and fine-tunes on retain.

    theta <- theta + sigma N(0, 1) with the first step;    L_CLIP(retain)

  Reads retain. Moves all parameters.

  Source: Siddiqui et al., From Dormant to Deleted (arXiv 2505.22310), and its code, where sigma is
  0.02. There the noise comes before the first gradient, here with it. `descent_to_delete` adds its
  noise last.

  Args:
    optimizer, seed: of the run.
    sigma: standard deviation of the noise.
  """
  noise = transforms.add_noise(sigma, 1, seed)
  tx = optax.chain(optax.set_to_zero(), transforms.add_retain(), optimizer, noise)
  return Method(None, losses.contrastive, tx)
