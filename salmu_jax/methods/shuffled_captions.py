"""Shuffled captions: trains the forget images towards each other's captions."""

import optax

from salmu_jax import losses
from salmu_jax.methods.base import Method


def make(optimizer: optax.GradientTransformation) -> Method:
  """Trains the forget images towards each other's captions.

    L_CLIP(forget, permuted captions)

  Each step pairs every image with the caption before its own in the shuffled batch. Reads forget.
  Moves all parameters.

  Source: a baseline of SALMUBench (arXiv 2603.26316); for classifiers it is known as random labels.

  Args:
    optimizer: of the run.
  """
  tx = optax.with_extra_args_support(optimizer)
  return Method(losses.contrastive_shuffled, None, tx)
