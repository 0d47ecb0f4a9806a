"""Negative preference optimisation, with a retain term."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Positive, Weight


def make(
  optimizer: optax.GradientTransformation, *, beta: Positive = 0.1, retain: Weight = 1.0
) -> Method:
  """Descends on (2 / beta) E softplus(beta log(p / p0)) of forget + retain x L_CLIP of retain.

  Zhang et al., Negative Preference Optimization (arXiv 2404.05868), equations 3 and 5 (NPO + RT),
  with in-batch matching in the place of likelihoods; the authors' beta is 0.1. With retain = 0 it
  is plain NPO. Reads forget, retain and the starting model. Moves all parameters.
  """
  tx = optax.chain(transforms.add_retain(retain), optimizer)
  return Method(losses.npo(beta), losses.contrastive, tx)
