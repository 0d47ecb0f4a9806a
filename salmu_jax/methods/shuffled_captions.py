"""Training the forget images towards each other's captions."""

import optax

from salmu_jax import losses
from salmu_jax.methods.base import Method


def make(optimizer: optax.GradientTransformation) -> Method:
  """Descends on the contrastive loss of forget images with permuted captions.

  A baseline of SALMUBench (arXiv 2603.26316); random labels, in classifiers. Each step pairs every
  image with the caption before its own in the shuffled batch. Reads forget. Moves all parameters.
  """
  tx = optax.with_extra_args_support(optimizer)
  return Method(losses.contrastive_shuffled, None, tx)
