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
  """Forgets, then trains on retain, in few layers; ends between the start and an average.

    mean_i S_ii over forget in the share `forgetting` of the steps, then L_CLIP(retain);
    theta <- theta0 + soup x (m - theta0) with the last step, m the moving average of the weights

  Thin factors are trained beside the matrices with the largest Fisher information of forget
  relative to retain. Reads forget and retain, both once more before the first step. Moves the
  chosen layers.

  Source: Zhang et al., Targeted Forgetting of Image Subgroups in CLIP Models (arXiv 2506.03117).
  Our reading, since their code is not public: stages share one budget; retain pictures stay as they
  are, as a ViT has no batch statistics to align them with; `soup`, which they search for, is
  searched like any setting.

  Args:
    optimizer, steps, seed: of the run.
    soup, forgetting: see above. decay: of the average m.
    layers: number of matrices. rank: of the factors.
  """
  tx = optax.chain(
    transforms.in_stages(round(forgetting * steps)),
    transforms.low_rank(optimizer, rank, seed),
    transforms.select_layers(),
    transforms.soup(steps, soup, decay, forgetting),
  )
  prepares = (transforms.find_fisher_layers(layers),)
  return Method(losses.pair_similarity, losses.contrastive, tx, prepares=prepares)
