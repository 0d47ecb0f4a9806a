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
  """Parts forget pairs, trains on retain, and holds retain's in-batch matching where it was.

    forget x mean_i S_ii + retain x L_CLIP(retain) + consistency x KL(p0 to p)

  The mean is over forget; the KL is over retain, in both directions of the matching. Reads forget,
  retain and the starting model. Moves all parameters.

  Source: Yang et al., CLIPErase (arXiv 2410.23330), section 3; the defaults are the paper's
  weights. Its public code has another forget term, which pulls similarities to 0: `cliperase_zero`.

  Args:
    optimizer: of the run.
    forget: weight of the forget term.
    retain: weight of the retain term.
    consistency: weight of the consistency term.
  """
  kept = losses.weighted((retain, losses.contrastive), (consistency, losses.divergence))
  tx = optax.chain(optax.scale(forget), transforms.add_retain(), optimizer)
  return Method(losses.pair_similarity, kept, tx)
