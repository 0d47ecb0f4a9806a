"""CLIPErase in the variant whose end point is the published one: similarities pulled to 0."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, forget: Weight = 1.0, retain: Weight = 1.0
) -> Method:
  """Descends on forget x mean S^2 + retain x (mean (S - S0)^2 + MSE(u) + MSE(v)).

  The first term is of forget, the others of retain.

  Unlike `cliperase`, whose forget term is unbounded, this one has its optimum at similarity 0,
  where the published run of CLIPErase ends (InterIdSim .024, arXiv 2603.26316). Reads forget,
  retain and the starting model. Moves all parameters.
  """
  kept = losses.weighted((1.0, losses.similarity_retention), (1.0, losses.embedding_retention))
  tx = optax.chain(optax.scale(forget), transforms.add_retain(retain), optimizer)
  return Method(losses.zero_similarity, kept, tx)
