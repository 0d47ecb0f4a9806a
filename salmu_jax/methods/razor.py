"""RAZOR: forgets and retains in few layers, and opens them one at a time."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Count, Share, Weight


def make(
  optimizer: optax.GradientTransformation,
  *,
  steps: int,
  layers: Count = 6,
  forget: Weight = 1.0,
  mismatch: Weight = 1.0,
  alpha: Share = 1.0,
) -> Method:
  """Parts forget pairs and holds retain, in up to `layers` matrices that are opened one at a time.

    L_CLIP(retain) + forget x mean_i S_ii + mismatch x mean (S - S0)^2
    matrices in order of |f| / |theta| (1 + cos(f, r))^alpha

  The first mean is over forget, the second over retain; f and r are the gradients of both halves.
  Reads forget and retain, both once before the first step, and the starting model. Moves the opened
  layers.

  Source: Ranjan et al., RAZOR (arXiv 2603.14819). Our reading, since their code is not public:
  whole matrices, not single heads; scores measured once; one layer opened in each of `layers` equal
  parts of the run (the paper stops once enough is forgotten, after 6 rounds at most); the search
  over learning rates replaces theirs for the step.

  Args:
    optimizer, steps: of the run.
    layers: number of matrices opened by the end.
    forget, mismatch: weights of the terms.
    alpha: how strongly the order favours matrices where forgetting does not hurt retain.
  """
  kept = losses.weighted((1.0, losses.contrastive), (mismatch, losses.similarity_retention))
  grow = transforms.grow_layers(steps, layers)
  tx = optax.chain(optax.scale(forget), transforms.add_retain(), optimizer, grow)
  return Method(losses.pair_similarity, kept, tx, prepares=(transforms.find_order(alpha),))
