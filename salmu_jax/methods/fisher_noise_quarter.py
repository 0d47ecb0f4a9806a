"""Fisher forgetting as its paper derives it: adds noise to weights that retain does not need."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation,
  *,
  steps: int,
  seed: int,
  alpha: Weight = 1e-16,
  limit: Weight = 0.1,
) -> Method:
  """Adds Gaussian noise to each weight, with less noise where retain needs the weight more.

    theta <- theta + min((alpha / F_retain)^(1/4), limit x RMS of the layer) N(0, 1)

  Reads retain. Moves all parameters, only in the last step. The optimizer is not used: the budget
  is one pass (1x).

  Source: Golatkar et al., Eternal Sunshine of the Spotless Net (arXiv 1911.04933), proposition 4,
  with the diagonal of F from batch gradients. Its public code has the power 1/2: `fisher_noise`.

  Args:
    optimizer: not used.
    steps, seed: of the run.
    alpha: strength of the noise.
    limit: largest standard deviation, as a share of the root mean square of the weight's layer.
  """
  del optimizer
  tx = transforms.add_noise_by_importance(alpha, steps, seed, 0.25, limit)
  return Method(None, losses.contrastive, tx)
