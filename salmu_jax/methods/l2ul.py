"""L2UL: ascends on forget, held back by adversarial anchors and a weighted pull to the start."""

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
  """Ascends on forget, held back by adversarial anchors and a weighted L2 penalty.

    -L_CLIP(forget) + anchors x (CE(u', V, i') + CE(v', U, i'))
      + penalty / 2 x sum (1 - freedom) (theta - theta0)^2

  u' and v' are starting embeddings of forget, pushed towards a wrong partner i' that they should go
  on matching (`losses.anchored_ascent`). freedom is 1 for the weights that forget needs most. Reads
  forget, once more before the first step, and the starting model. Moves all parameters.

  Source: Cha et al., Learning to Unlearn (arXiv 2301.11578), equations 5 to 7. It needs no retain
  data. The paper perturbs pixels, this embeddings. freedom comes from the gradient of the loss; the
  authors' code takes the gradient of the outputs' norm.

  Args:
    optimizer: of the run.
    anchors: weight of the anchors.
    perturbation: factor on the push, the difference between the wrong and the true partner.
    penalty: weight of the L2 penalty.
  """
  loss = losses.anchored_ascent(anchors, perturbation)
  tx = optax.chain(transforms.hold_unimportant(penalty), optimizer)
  return Method(loss, None, tx, prepares=(transforms.measure_freedom(),))
