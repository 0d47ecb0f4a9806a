"""CLIPErase, as the paper states it: forget, retain and consistency terms."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(
  optimizer: optax.GradientTransformation,
  *,
  forget: Weight = 3.0,
  retain: Weight = 1.0,
  consistency: Weight = 3.0,
) -> Method:
  """Descends on forget x mean cos of forget pairs + retain x L_CLIP + consistency x KL(p0 to p).

  The last two on retain, KL over both directions of the in-batch matching. Yang et al., CLIPErase
  (arXiv 2410.23330), section 3; the defaults are the paper's weights. Its public code has another
  forget term, which pulls similarities to 0: `cliperase_zero`. Reads forget, retain and the
  starting model. Moves all parameters.
  """
  kept = losses.weighted((retain, losses.contrastive), (consistency, losses.divergence))
  tx = optax.chain(optax.scale(forget), transforms.add_retain(), optimizer)
  return Method(losses.pair_similarity, kept, tx)
