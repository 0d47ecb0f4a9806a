"""Fisher forgetting as in its public code: noise on what retain does not need."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation,
  *,
  steps: int,
  seed: int,
  alpha: Weight = 1e-8,
  limit: Weight = 0.1,
) -> Method:
  """Adds (alpha / F_retain)^(1/2) N(0, 1) to the weights, at most `limit` of their layer's size.

  Golatkar et al., Eternal Sunshine of the Spotless Net (arXiv 1911.04933), with the diagonal of F
  from batch gradients. The paper derives the power 1/4: `fisher_noise_quarter`. Nothing moves
  before the last step, and the optimizer is not used: the budget is one pass (1x). Reads retain.
  Moves all parameters.
  """
  del optimizer
  tx = transforms.add_noise_by_importance(alpha, steps, seed, 0.5, limit)
  return Method(None, losses.contrastive, tx)
