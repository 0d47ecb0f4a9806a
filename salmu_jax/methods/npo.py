"""Negative preference optimisation (NPO), with a retain term."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Positive, Weight


def make(
  optimizer: optax.GradientTransformation, *, beta: Positive = 0.1, retain: Weight = 1.0
) -> Method:
  """Ascends on forget, more slowly where a pair is forgotten already, and trains on retain.

    (2 / beta) mean softplus(beta log(p / p0)) + retain x L_CLIP(retain)

  p is the matching probability of the true pairs of forget. Reads forget, retain and the starting
  model. Moves all parameters.

  Source: Zhang et al., Negative Preference Optimization (arXiv 2404.05868), equations 3 and 5 (NPO
  + RT); in-batch matching replaces their likelihoods. The authors' beta is 0.1.

  Args:
    optimizer: of the run.
    beta: inverse temperature; a larger one slows the ascent down earlier.
    retain: weight of the retain loss; 0 is plain NPO.
  """
  tx = optax.chain(transforms.add_retain(retain), optimizer)
  return Method(losses.npo(beta), losses.contrastive, tx)
