"""SalUn: shuffled captions and retain, on the weights that matter most for forget."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import PositiveShare, Weight


def make(
  optimizer: optax.GradientTransformation, *, fraction: PositiveShare = 0.5, retain: Weight = 1.0
) -> Method:
  """Descends on L_CLIP of permuted captions + retain x L_CLIP of retain, on salient weights alone.

  Fan et al., SalUn (ICLR 2024), equations 4 to 6, with permuted captions for random labels. Salient
  is the `fraction` of weights with the largest |sum of gradients| of that forget loss; the authors'
  code takes the loss on the true labels. Reads forget, once more before the first step, and retain.
  Moves the salient weights.
  """
  tx = optax.chain(transforms.add_retain(retain), optimizer, transforms.keep_salient())
  prepares = (transforms.find_salient(fraction),)
  return Method(losses.contrastive_shuffled, losses.contrastive, tx, prepares=prepares)
