"""SalUn: trains on shuffled captions and retain, on the weights that matter most for forget."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import PositiveShare, Weight


def make(
  optimizer: optax.GradientTransformation, *, fraction: PositiveShare = 0.5, retain: Weight = 1.0
) -> Method:
  """Trains on shuffled captions of forget and on retain, on salient weights alone.

    L_CLIP(forget, permuted captions) + retain x L_CLIP(retain)

  A weight is salient if it is in the `fraction` with the largest |sum of gradients| of the forget
  loss. Reads forget, once more before the first step, and retain. Moves the salient weights.

  Source: Fan et al., SalUn (ICLR 2024, arXiv 2310.12508), equations 4 to 6, with permuted captions
  for random labels. The authors' code measures saliency with the loss on the true labels.

  Args:
    optimizer: of the run.
    fraction: share of all weights that is salient.
    retain: weight of the retain loss.
  """
  tx = optax.chain(transforms.add_retain(retain), optimizer, transforms.keep_salient())
  prepares = (transforms.find_salient(fraction),)
  return Method(losses.contrastive_shuffled, losses.contrastive, tx, prepares=prepares)
