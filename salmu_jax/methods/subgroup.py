"""Targeted forgetting of subgroups: forget, remind, restore."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Count, Share


def make(
  optimizer: optax.GradientTransformation,
  *,
  steps: int,
  seed: int,
  soup: Share = 0.5,
  forgetting: Share = 0.5,
  layers: Count = 8,
  rank: Count = 8,
  decay: Share = 0.9,
) -> Method:
  """theta0 + soup x (m - theta0), m the moving average of weights that forgot and were reminded.

  In the share `forgetting` of the steps descends on the mean cosine of forget pairs, then on L_CLIP
  of retain, by thin factors beside the `layers` matrices with the largest Fisher information of
  forget relative to that of retain. Zhang et al., Targeted Forgetting of Image Subgroups in CLIP
  Models (arXiv 2506.03117). Our reading, for their code is not public: stages share one budget;
  retain pictures stay as they are, for a ViT has no batch statistics to align them with; `soup`,
  which they search for, is searched as others' knobs are. Reads forget and retain, both once more
  before the first step. Moves the chosen layers.
  """
  tx = optax.chain(
    transforms.in_stages(round(forgetting * steps)),
    transforms.low_rank(optimizer, rank, seed),
    transforms.select_layers(),
    transforms.soup(steps, soup, decay, forgetting),
  )
  prepares = (transforms.find_fisher_layers(layers),)
  return Method(losses.pair_similarity, losses.contrastive, tx, prepares=prepares)
