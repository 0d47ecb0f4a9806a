"""Alignment Calibration: parts forget pairs and aligns wrong pairs instead."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, negative: Weight = 1.0, positive: Weight = 1.0
) -> Method:
  """Parts the forget pairs, aligns their images with wrong captions, and trains on retain.

    L_CLIP(retain) + negative x L_CLIP(forget, permuted captions) + positive x mean_i S_ii

  The last mean is over forget. Reads forget and retain. Moves all parameters.

  Source: Wang et al., Alignment Calibration (arXiv 2406.03603). Negative calibration treats wrong
  pairs as InfoNCE treats true ones; positive calibration parts true pairs. Our reading, since
  their code has SimCLR and MoCo but no CLIP: alpha = gamma = `negative`, beta = `positive`, and
  each half of a batch is contrasted within itself.

  Args:
    optimizer: of the run.
    negative: weight of the negative calibration.
    positive: weight of the positive calibration.
  """
  calibrated = losses.weighted(
    (negative, losses.contrastive_shuffled), (positive, losses.pair_similarity)
  )
  tx = optax.chain(transforms.add_retain(), optimizer)
  return Method(calibrated, losses.contrastive, tx)
