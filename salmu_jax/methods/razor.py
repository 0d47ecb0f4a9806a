"""RAZOR: forgetting and retaining in few layers, of which one more is opened at a time."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Count, Share, Weight


def make(
  optimizer: optax.GradientTransformation,
  *,
  steps: int,
  layers: Count = 6,
  forget: Weight = 1.0,
  mismatch: Weight = 1.0,
  alpha: Share = 1.0,
) -> Method:
  """Descends on L_CLIP of retain + forget x mean cos of forget pairs + mismatch x mean (S - S0)^2
  of retain, in up to `layers` matrices.

  Ranjan et al., RAZOR (arXiv 2603.14819): layers by |f| / |theta| (1 + cos(f, r))^alpha, which
  favours those where forgetting does not hurt retain. Our reading, for their code is not public:
  whole matrices, not single heads; scores are measured once; a layer is opened in every part of the
  run, at most 6 as in the paper, which stops once enough is forgotten; the search over learning
  rates takes the place of theirs for the step. Reads forget and retain, both once before the first
  step, and the starting model. Moves the opened layers.
  """
  kept = losses.weighted((1.0, losses.contrastive), (mismatch, losses.similarity_retention))
  grow = transforms.grow_layers(steps, layers)
  tx = optax.chain(optax.scale(forget), transforms.add_retain(), optimizer, grow)
  return Method(losses.pair_similarity, kept, tx, prepares=(transforms.find_order(alpha),))
