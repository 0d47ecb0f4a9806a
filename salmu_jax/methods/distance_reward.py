"""Distance reward: fine-tunes on retain and rewards distance from the starting weights."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(optimizer: optax.GradientTransformation, *, weight: Weight = 1.0) -> Method:
  """Fine-tunes on retain with a reward for distance from the starting weights.

    L_CLIP(retain) - weight x sqrt(mean (theta - theta0)^2 + 1e-8)

  Reads retain and the starting weights. Moves all parameters.

  Source: Siddiqui et al., From Dormant to Deleted (arXiv 2505.22310); weight_dist_reg in its code,
  with weight 1. There it may also start from the result of another method; here it starts from the
  model as it is.

  Args:
    optimizer: of the run.
    weight: of the reward.
  """
  tx = optax.chain(
    optax.set_to_zero(), transforms.add_retain(), transforms.reward_distance(weight), optimizer
  )
  return Method(None, losses.contrastive, tx)
