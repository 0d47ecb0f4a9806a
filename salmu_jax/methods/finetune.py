"""Fine-tuning on retain alone: forgets only what it overwrites."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method


def make(optimizer: optax.GradientTransformation) -> Method:
  """Fine-tunes on retain alone.

    L_CLIP(retain)

  Reads retain. Moves all parameters.

  Source: Golatkar et al., Eternal Sunshine of the Spotless Net (arXiv 1911.04933), as a baseline.

  Args:
    optimizer: of the run.
  """
  tx = optax.chain(optax.set_to_zero(), transforms.add_retain(), optimizer)
  return Method(None, losses.contrastive, tx)
