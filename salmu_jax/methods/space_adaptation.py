"""Text-image space adaptation: forget captions go to a neutral place, by the last matrix alone."""

import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Count, Weight


def make(
  optimizer: optax.GradientTransformation,
  *,
  seed: int,
  forget: Weight = 1.3,
  retain: Weight = 0.4,
  penalty: Weight = 0.01,
  rank: Count = 5,
) -> Method:
  """Descends on forget x neutral_target + retain x text_retention + penalty x |T - T0|^2 / 2.

  T, the projection of the text tower, becomes T0 + A B with thin factors. Kravets and Namboodiri,
  Zero-shot CLIP Class Forgetting via Text-image Space Adaptation (TMLR 2025); rank and the first
  two weights as in their code, which trains too, without pictures. Our reading: the neutral place
  of a caption is its caption without private values, theirs the empty text; distances of unit
  vectors and of weights are squared, for the square has a gradient at 0, so their penalty of 1,
  beside distances of whole vectors, would leave nothing to move here; retain's captions take the
  place of classes that a language model names. Reads the captions of forget and retain, and the
  starting model. Moves the text projection.
  """
  held = transforms.hold_unimportant(penalty)  # all of it: no freedom is measured
  adapted = optax.chain(held, transforms.low_rank(optimizer, rank, seed))
  tx = optax.chain(
    optax.scale(forget),
    transforms.add_retain(retain),
    transforms.only(adapted, "^text/text_projection$"),
  )
  return Method(losses.neutral_target, losses.text_retention, tx, image_tower=False)
