"""DELETE with its published end point: pulls forget similarities to 0."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, forget: Weight = 1.0, retain: Weight = 1.0
) -> Method:
  """Pulls forget similarities to 0, and holds retain's similarities.

    forget x mean S^2 + retain x mean (S - S0)^2

  The first mean is over forget, the second over retain. Reads forget, retain and the starting
  model. Moves all parameters.

  Source: a variant of DELETE (arXiv 2503.23751). `delete` has no target similarity; this one has 0,
  where the published run of DELETE ends (InterIdSim .023, arXiv 2603.26316).

  Args:
    optimizer: of the run.
    forget: weight of the forget term.
    retain: weight of the retain term.
  """
  tx = optax.chain(optax.scale(forget), transforms.add_retain(retain), optimizer)
  return Method(losses.zero_similarity, losses.similarity_retention, tx)
