"""Text-image space adaptation: moves forget captions to a neutral place by the last matrix."""

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
  """Pulls forget captions to a neutral place and holds retain's, by the text projection alone.

    forget x mean (1 - v . g0) + retain x mean (1 - v . v0) + penalty x |T - T0|^2 / 2

  g0 are the starting embeddings of forget captions without private values. T = T0 + A B is the text
  projection, with thin factors A and B. Reads the captions of forget and retain, and the starting
  model. Moves the text projection.

  Source: Kravets and Namboodiri, Zero-shot CLIP Class Forgetting via Text-image Space Adaptation
  (TMLR 2025); rank and first two weights as in their code, which also trains without pictures. Our
  reading: the neutral place is the caption without private values, theirs the empty text. Distances
  of unit vectors and of weights are squared, since a square has a gradient at 0; their penalty of
  1, beside distances of whole vectors, would leave nothing to move here. Retain's captions replace
  classes that a language model names.

  Args:
    optimizer, seed: of the run.
    forget, retain, penalty: weights of the terms.
    rank: of A B.
  """
  held = transforms.hold_unimportant(penalty)  # all of it: no freedom is measured
  adapted = optax.chain(held, transforms.low_rank(optimizer, rank, seed))
  tx = optax.chain(
    optax.scale(forget),
    transforms.add_retain(retain),
    transforms.only(adapted, "^text/text_projection$"),
  )
  return Method(losses.neutral_target, losses.text_retention, tx, image_tower=False)
