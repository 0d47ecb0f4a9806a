"""CLIPErase with its published end point: pulls forget similarities to 0."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, forget: Weight = 1.0, retain: Weight = 1.0
) -> Method:
  """Pulls forget similarities to 0, and holds retain's similarities and embeddings.

    forget x mean S^2 + retain x (mean (S - S0)^2 + MSE(u) + MSE(v))

  The first term is over forget, the others over retain; MSE(u) and MSE(v) are mean squared changes
  since the start. Reads forget, retain and the starting model. Moves all parameters.

  Source: a variant of CLIPErase (arXiv 2410.23330). The forget term of `cliperase` is unbounded;
  this one has its optimum at similarity 0, where the published run of CLIPErase ends (InterIdSim
  .024, arXiv 2603.26316).

  Args:
    optimizer: of the run.
    forget: weight of the forget term.
    retain: weight of the retain terms.
  """
  kept = losses.weighted((1.0, losses.similarity_retention), (1.0, losses.embedding_retention))
  tx = optax.chain(optax.scale(forget), transforms.add_retain(retain), optimizer)
  return Method(losses.zero_similarity, kept, tx)
