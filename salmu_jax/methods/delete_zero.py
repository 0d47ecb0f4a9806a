"""DELETE in the variant whose end point is the published one: similarities pulled to 0."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, forget: Weight = 1.0, retain: Weight = 1.0
) -> Method:
  """Descends on forget x mean S^2 of forget + retain x mean (S - S0)^2 of retain.

  `delete` has no target similarity; this has 0, where the published run of DELETE ends (InterIdSim
  .023, arXiv 2603.26316). Reads forget, retain and the starting model. Moves all parameters.
  """
  tx = optax.chain(optax.scale(forget), transforms.add_retain(retain), optimizer)
  return Method(losses.zero_similarity, losses.similarity_retention, tx)
