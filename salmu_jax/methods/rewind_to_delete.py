"""Rewind-to-Delete: goes back along the path of training, then forward on retain alone."""

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
  """Ascends on forget and retain, then descends on retain, and adds noise with the last step.

    -(L_CLIP(forget) + L_CLIP(retain)) in the share `rewind` of the steps, then L_CLIP(retain);
    theta <- theta + sigma N(0, 1) with the last step

  Reads forget and retain. Moves all parameters.

  Source: Mu and Klabjan, Rewind-to-Delete (arXiv 2409.09778). An unlearner here has no earlier
  checkpoint, so this is the paper's reconstruction of one. Each step back solves theta = theta_t +
  eta grad f(theta), the proximal point of -f, where f is the loss of all data. Our reading: one
  iteration for each of these, a step of ascent by the run's optimizer; as many steps back as
  forward, as in the paper. Its sigma of 0.01 certifies deletion there, and nothing here.

  Args:
    optimizer, steps, seed: of the run.
    rewind: share of the steps that go back.
    sigma: standard deviation of the noise.
  """
  stages = transforms.in_stages(round(rewind * steps), -1.0)
  tx = optax.chain(stages, optimizer, transforms.add_noise(sigma, steps, seed))
  return Method(losses.ascent, losses.contrastive, tx)
