"""Bounded ascent: pushes forget pairs apart until each looks mismatched; trains on retain."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Margin, Weight


def make(
  optimizer: optax.GradientTransformation, *, margin: Margin = 0.0, retain: Weight = 1.0
) -> Method:
  """Pushes each forget pair apart until it looks mismatched, and trains on retain.

    mean_i max(S_ii - t_i, 0) + retain x L_CLIP(retain),    t_i = mean_{j != i} S0_ij + margin

  The first mean is over forget. Reads forget, retain and the starting model. Moves all parameters.

  Source: this project's own. Unlike negative_gradient, direct_similarity and grad_diff, it stops.

  Args:
    optimizer: of the run.
    margin: added to the target t_i, the mean starting similarity of the pair's image to the other
      captions of the batch.
    retain: weight of the retain loss.
  """
  tx = optax.chain(transforms.add_retain(retain), optimizer)
  return Method(losses.bounded_ascent(margin), losses.contrastive, tx)
