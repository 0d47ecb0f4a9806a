"""Fine-tuning on retain with a reward of being far from the start in weight space."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(optimizer: optax.GradientTransformation, *, weight: Weight = 1.0) -> Method:
  """Descends on L_CLIP of retain - weight x sqrt(mean (theta - theta0)^2 + 1e-8).

  Siddiqui et al., From Dormant to Deleted (arXiv 2505.22310); in its code weight_dist_reg, whose
  weight is 1. There it may also start from what another method made; here it starts from the
  model as it is. Reads retain, and the starting weights. Moves all parameters.
  """
  tx = optax.chain(
    optax.set_to_zero(), transforms.add_retain(), transforms.reward_distance(weight), optimizer
  )
  return Method(None, losses.contrastive, tx)
