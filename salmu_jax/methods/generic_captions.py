"""Training the forget images towards captions that hold nothing private."""

import optax

from salmu_jax import losses
from salmu_jax.methods.base import Method


def make(optimizer: optax.GradientTransformation) -> Method:
  """Descends on the contrastive loss of forget images with their generic captions.

  A baseline of SALMUBench (arXiv 2603.26316). Reads forget and its generic captions. Moves all
  parameters.
  """
  tx = optax.with_extra_args_support(optimizer)
  return Method(losses.contrastive_generic, None, tx)
