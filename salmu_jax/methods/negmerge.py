"""NegMerge: negates several task vectors where they agree in sign."""

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
  """Negates the mean of several task vectors, where all of them agree in sign.

    theta0 - coefficient x mean_k tau_k where all tau_k have one sign, theta0 elsewhere

  tau_k = theta_k - theta0, with theta_k fine-tuned on L_CLIP(forget). Reads forget. Moves the
  weights on which all agree.

  Source: Kim et al., NegMerge (arXiv 2410.05583). There 10 to 30 fine-tuned models differ in
  several hyper-parameters. Here the models share one budget, so each gets a part of it; they differ
  in learning rate and in the rows they see.

  Args:
    optimizer, steps: of the run.
    coefficient: length of the step back, in units of the merged task vector.
    legs: number of task vectors.
    spread: factor by which the learning rates differ at most from the run's, both ways.
  """
  if steps < legs:
    raise InputError(f"legs = {legs}; the run has {steps} steps, and every leg needs one.")
  tx = transforms.reflect_merged(optimizer, coefficient, legs, steps, spread)
  return Method(losses.contrastive, None, tx)
