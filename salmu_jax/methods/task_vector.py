"""Task arithmetic: learn the forget pairs even better, then go as far the other way."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, steps: int, coefficient: Weight = 1.0
) -> Method:
  """theta0 - coefficient x (theta_ft - theta0), theta_ft fine-tuned on L_CLIP of forget.

  Ilharco et al., Editing Models with Task Arithmetic (arXiv 2212.04089), section 3; the authors
  choose the coefficient by validation. The edit comes with the last step. Reads forget. Moves all
  parameters.
  """
  tx = optax.chain(optimizer, transforms.reflect(coefficient, steps))
  return Method(losses.contrastive, None, tx)
