"""Rewind-to-Delete: back along the path of training, then forward on retain alone."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Share, Weight


def make(
  optimizer: optax.GradientTransformation,
  *,
  steps: int,
  seed: int,
  rewind: Share = 0.5,
  sigma: Weight = 0.01,
) -> Method:
  """Ascends on L_CLIP of forget + L_CLIP of retain in the share `rewind` of the steps, then
  descends on that of retain; the last step adds sigma x N(0, 1) to the weights.

  Mu and Klabjan, Rewind-to-Delete (arXiv 2409.09778). An unlearner here has no earlier checkpoint,
  so this is its reconstruction: a step back solves theta = theta_t + eta grad f(theta), f the loss
  of all data, the proximal point of -f. Our reading: one iteration for each of these, which is a
  step of ascent, by the run's optimizer; as many steps back as forward, as in the paper. Its sigma
  of 0.01 certifies deletion there, and nothing here. Reads forget and retain. Moves all parameters.
  """
  stages = transforms.in_stages(round(rewind * steps), -1.0)
  tx = optax.chain(stages, optimizer, transforms.add_noise(sigma, steps, seed))
  return Method(losses.ascent, losses.contrastive, tx)
