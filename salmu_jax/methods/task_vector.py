"""Task arithmetic: learns the forget pairs even better, then goes back past the start."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, steps: int, coefficient: Weight = 1.0
) -> Method:
  """Fine-tunes on forget, then negates the task vector with the last step.

    theta0 - coefficient x (theta_ft - theta0),    theta_ft fine-tuned on L_CLIP(forget)

  Reads forget. Moves all parameters.

  Source: Ilharco et al., Editing Models with Task Arithmetic (arXiv 2212.04089), section 3. The
  authors choose the coefficient by validation.

  Args:
    optimizer, steps: of the run.
    coefficient: length of the step back, in units of the task vector.
  """
  tx = optax.chain(optimizer, transforms.reflect(coefficient, steps))
  return Method(losses.contrastive, None, tx)
