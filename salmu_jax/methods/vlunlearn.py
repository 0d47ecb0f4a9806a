"""VLUnlearn, after MultiDelete: forget pairs look mismatched, retain embeddings stay put."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation, *, forget: Weight = 1.0, retain: Weight = 1.0
) -> Method:
  """Descends on forget x decoupling + retain x retention.

  Cheng and Amiri, MultiDelete for Multimodal Machine Unlearning (arXiv 2311.12047), section 3; the
  authors weigh all terms 1. Reads forget, retain and the starting model. Moves all parameters.
  """
  tx = optax.chain(optax.scale(forget), transforms.add_retain(retain), optimizer)
  return Method(losses.decoupling, losses.retention, tx)
