"""DELETE, as the paper states it: the starting model without the true pair is the teacher."""

import optax

from salmu_jax import losses
from salmu_jax.methods.base import Method


def make(optimizer: optax.GradientTransformation) -> Method:
  """Descends on KL(p0' to p), p0' the starting model's matching with the true pair left out.

  Zhou et al., Decoupled Distillation to Erase (arXiv 2503.23751), with in-batch matching in the
  place of classes, both ways. SALMUBench's run ends at similarity 0 instead: `delete_zero`. Reads
  forget and the starting model. Moves all parameters.
  """
  tx = optax.with_extra_args_support(optimizer)
  return Method(losses.excluded_pair, None, tx)
