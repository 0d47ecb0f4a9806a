"""VL-Eraser: learns forget in thin factors away from retain, then subtracts them."""

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
  """Trains a low-rank update on forget that leaves retain alone, and subtracts it in the last step.

    W0 - coefficient x P A B,    A B trained on L_CLIP(forget), P onto the vacuum of retain

  P removes the leading inputs of each matrix on retain (`transforms.project_both`), so what W does
  to them stays. Reads forget, and retain once before the first step. Moves the matrices.

  Source: Wang et al., VL-Eraser: Vacuum Distillation (CVPR 2026). Our reading: only the task loss
  of their two, as the FFN-wise distillation compares activations, which no loss here sees (their
  ablation without it forgets less); factors beside every matrix, not only the FFNs'; the vacuum is
  what lies past `share` of the trace, as few inputs have singular value 0.

  Args:
    optimizer, steps, seed: of the run.
    coefficient: of the subtraction.
    rank: of A B.
    share: of the trace of the inputs' covariance that P removes.
  """
  # Before the factors too: the gradient of P A B is A' P G.
  vacuum = transforms.project_both("retain", "inputs")
  adapted = transforms.low_rank(optimizer, rank, seed)
  tx = optax.chain(vacuum, adapted, vacuum, transforms.reflect(coefficient, steps))
  prepares = (transforms.find_subspaces("retain", share),)
  return Method(losses.contrastive, losses.contrastive, tx, prepares=prepares)
