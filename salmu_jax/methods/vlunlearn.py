"""VLUnlearn, after MultiDelete: forget pairs look mismatched, retain embeddings stay put."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, forget: Weight = 1.0, retain: Weight = 1.0
) -> Method:
  """Makes forget pairs look as mismatched pairs did, and holds retain's embeddings.

    forget x decoupling + retain x retention

  decoupling is mean (S - S0')^2 over forget, S0' the starting similarities to the captions of other
  rows. retention is the mean squared change of u, v and the normalised (u + v) / 2 over retain.
  Reads forget, retain and the starting model. Moves all parameters.

  Source: Cheng and Amiri, MultiDelete for Multimodal Machine Unlearning (arXiv 2311.12047), section
  3; the authors weigh all terms 1.

  Args:
    optimizer: of the run.
    forget: weight of decoupling.
    retain: weight of retention.
  """
  tx = optax.chain(optax.scale(forget), transforms.add_retain(retain), optimizer)
  return Method(losses.decoupling, losses.retention, tx)
