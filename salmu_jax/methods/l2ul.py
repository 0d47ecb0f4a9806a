"""L2UL: ascent on forget, held back by adversarial anchors and a weighted pull to the start."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation,
  *,
  anchors: Weight = 1.0,
  perturbation: Weight = 0.5,
  penalty: Weight = 1.0,
) -> Method:
  """Descends on ascent + anchors x adversarial matching + penalty x importance-weighted L2.

  Cha et al., Learning to Unlearn (arXiv 2301.11578), equations 5 to 7. It needs no retain data:
  anchors are forget embeddings pushed by `perturbation` towards a wrong partner (the paper perturbs
  pixels), and weights that forget does not need are pulled to where they were. That need is
  measured by the gradient of the loss; the authors' code takes that of the outputs' norm. Reads
  forget, once more before the first step, and the starting model. Moves all parameters.
  """
  loss = losses.anchored_ascent(anchors, perturbation)
  tx = optax.chain(transforms.hold_unimportant(penalty), optimizer)
  return Method(loss, None, tx, prepares=(transforms.measure_freedom(),))
