"""Fisher forgetting: noise on what retain does not need."""

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method


def make(optimizer, *, steps, seed, alpha=1e-8, limit=0.1):
  """Adds noise of variance alpha / F_retain to the weights, at most `limit` of their array's size.

  Golatkar et al., Eternal Sunshine of the Spotless Net (arXiv 1911.04933), section 5.2, with the
  diagonal of F from batch gradients. Nothing moves before the last step, and the optimizer is not used:
  the budget is one pass (1x). Reads retain. Moves all parameters.
  """
  del optimizer
  tx = transforms.add_noise_by_importance(alpha, steps, seed, limit)
  return Method(losses.contrastive, losses.contrastive, tx, reads=("retain",))
