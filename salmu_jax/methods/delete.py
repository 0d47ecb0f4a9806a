"""DELETE, as the paper states it: the teacher is the starting model without the true pair."""

import optax

from salmu_jax import losses
from salmu_jax.methods.base import Method


def make(optimizer: optax.GradientTransformation) -> Method:
  """Distils on forget from the starting model's matching with the true pair left out.

    KL(p0' to p),    p0' = softmax(scale0 S0, -inf in place of the true pair)

  Reads forget and the starting model. Moves all parameters.

  Source: Zhou et al., Decoupled Distillation to Erase (arXiv 2503.23751). In-batch matching, in
  both directions, replaces the paper's classes. SALMUBench's run ends at similarity 0 instead:
  `delete_zero`.

  Args:
    optimizer: of the run.
  """
  tx = optax.with_extra_args_support(optimizer)
  return Method(losses.excluded_pair, None, tx)
