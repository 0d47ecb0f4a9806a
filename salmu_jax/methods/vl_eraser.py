"""VL-Eraser: what is to be forgotten is learnt in thin factors beside retain, and subtracted."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Count, PositiveShare, Weight


def make(
  optimizer: optax.GradientTransformation,
  *,
  steps: int,
  seed: int,
  coefficient: Weight = 1.0,
  rank: Count = 8,
  share: PositiveShare = 0.9,
) -> Method:
  """W0 - coefficient x P A B, with A B trained on L_CLIP of forget and P the vacuum of retain.

  P projects out a matrix's leading inputs on retain, by `transforms.project_both`, so what W does
  to them stays. Wang et al., VL-Eraser: Vacuum Distillation (CVPR 2026). Our reading: of their two
  losses the task's, for the FFN-wise distillation compares activations, which no loss here sees
  (their ablation without it forgets less); factors beside every matrix, not the FFNs' alone; as few
  inputs have singular value 0, those past `share` of the trace are the vacuum. The edit comes with
  the last step. Reads forget, and retain once before the first step. Moves the matrices.
  """
  # Before the factors too: the gradient of P A B is A' P G.
  vacuum = transforms.project_both("retain", "inputs")
  adapted = transforms.low_rank(optimizer, rank, seed)
  tx = optax.chain(vacuum, adapted, vacuum, transforms.reflect(coefficient, steps))
  prepares = (transforms.find_subspaces("retain", share),)
  return Method(losses.contrastive, losses.contrastive, tx, prepares=prepares)
