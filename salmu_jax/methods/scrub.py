"""SCRUB: a student that leaves its teacher on forget and follows it on retain."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Share, Weight


def make(
  optimizer: optax.GradientTransformation,
  *,
  steps: int,
  alpha: Weight = 0.5,
  task: Weight = 1.0,
  ascent: Share = 0.5,
) -> Method:
  """Alternates between leaving the starting model on forget and following it on retain.

    max step: -KL(p0 to p) on forget;    min step: alpha x KL(p0 to p) + task x L_CLIP on retain

  Reads forget, retain and the starting model. Moves all parameters.

  Source: Kurmanji et al., Towards Unbounded Machine Unlearning (arXiv 2302.09880), equation 3 and
  algorithm 1, which makes max steps only at first. Here max and min steps alternate in the first
  share `ascent` of the steps. A min step comes first, because the KL has no gradient at the start.

  Args:
    optimizer, steps: of the run.
    alpha: weight of the KL on retain; the authors' values are 0.01 to 0.5.
    task: weight of the contrastive loss on retain.
    ascent: share of the steps in which max steps occur.
  """
  leave = losses.weighted((-1.0, losses.divergence))
  follow = losses.weighted((alpha, losses.divergence), (task, losses.contrastive))
  tx = optax.chain(transforms.alternate(round(ascent * steps)), optimizer)
  return Method(leave, follow, tx)
