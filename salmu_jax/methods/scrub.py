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
  """Alternates ascent on KL(p0 to p) of forget with descent on alpha x KL + task x L_CLIP of
  retain.

  Kurmanji et al., Towards Unbounded Machine Unlearning (arXiv 2302.09880), equation 3 and algorithm
  1, which makes max steps only at first. Here max and min steps take turns in the share `ascent` of
  the run's steps, and a min step is the first, because the KL has no gradient at the start. The
  authors' alpha is 0.01 to 0.5. Reads forget, retain and the starting model. Moves all parameters.
  """
  leave = losses.weighted((-1.0, losses.divergence))
  follow = losses.weighted((alpha, losses.divergence), (task, losses.contrastive))
  tx = optax.chain(transforms.alternate(round(ascent * steps)), optimizer)
  return Method(leave, follow, tx)
