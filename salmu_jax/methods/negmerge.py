"""NegMerge: several task vectors, negated where they agree in sign."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.errors import InputError
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Count, Factor, Weight


def make(
  optimizer: optax.GradientTransformation,
  *,
  steps: int,
  coefficient: Weight = 1.0,
  legs: Count = 4,
  spread: Factor = 2.0,
) -> Method:
  """theta0 - coefficient x the mean of `legs` task vectors, where all agree in sign.

  Kim et al., NegMerge (arXiv 2410.05583); there 10 to 30 fine-tuned models differ in several
  hyper-parameters. Here the models share one budget, so each gets a part of it, and they differ in
  learning rate (by a factor of up to `spread` both ways) and in the rows they see. Reads forget.
  Moves the weights on which all agree.
  """
  if steps < legs:
    raise InputError(f"legs = {legs}; the run has {steps} steps, and every leg needs one.")
  tx = transforms.reflect_merged(optimizer, coefficient, legs, steps, spread)
  return Method(losses.contrastive, None, tx)
