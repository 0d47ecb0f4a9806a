"""Alignment Calibration: forget pairs lose their alignment, and wrong pairs gain it."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, negative: Weight = 1.0, positive: Weight = 1.0
) -> Method:
  """Descends on L_CLIP of retain + negative x L_CLIP of permuted captions + positive x mean cos.

  The last two are of forget: negative calibration treats wrong pairs as InfoNCE treats true ones,
  positive calibration takes the true pairs apart. Wang et al., Alignment Calibration (arXiv
  2406.03603). Our reading, after their code for SimCLR and MoCo, which has no CLIP: alpha = gamma =
  `negative`, beta = `positive`, and each half of a batch is contrasted within itself. Reads
  forget and retain. Moves all parameters.
  """
  calibrated = losses.weighted(
    (negative, losses.contrastive_shuffled), (positive, losses.pair_similarity)
  )
  tx = optax.chain(transforms.add_retain(), optimizer)
  return Method(calibrated, losses.contrastive, tx)
