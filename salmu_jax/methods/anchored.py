"""Anchored caption editing: parts forget captions from their images, and holds similar captions."""

from typing import Annotated

import optax

from salmu_jax import losses, transforms
from salmu_jax.errors import InputError
from salmu_jax.methods.base import Method, Surrogates
from salmu_jax.methods.surrogates import Source
from salmu_jax.ranges import Count, Margin, OneOf, Share, Weight

TARGETS = ("mismatched", "removed")
Target = Annotated[str, OneOf(TARGETS)]


def make(
  optimizer: optax.GradientTransformation,
  *,
  forget: Weight = 1.0,
  retain: Weight = 2.0,
  anchors: Weight = 4.0,
  target: Target = "mismatched",
  margin: Margin = 0.0,
  surrogates: Count = 6,
  source: Source = "both",
  reworded: Share = 0.0,
) -> Method:
  """Descends on forget x mismatched_target + anchors x surrogate_retention + retain x
  text_retention.

  This project's own; experiments/anchored derives it. With each row of forget come `surrogates`
  made-up captions from `source` (`salmu_jax.methods.surrogates`), the nearest captions that are to
  stay. Reads forget, retain's captions and the starting model. Moves the text tower.

  With `target` "removed", component_removed stands in the place of mismatched_target, and there is
  no `margin`: less is forgotten and more is kept (experiments/strict).

  Raises:
    InputError: a margin with the target "removed".
  """
  goal = losses.mismatched_target(margin) if target == "mismatched" else losses.component_removed
  if margin and target == "removed":
    raise InputError(f"margin = {margin} is of target = 'mismatched'; leave it out of 'removed'.")
  pair, near = (forget, goal), (anchors, losses.surrogate_retention)
  split = losses.weighted(pair), losses.weighted(near)
  tx = optax.chain(transforms.add_retain(retain), transforms.only(optimizer, "^text/"))
  made_up = Surrogates(surrogates, source, reworded)
  return Method(
    losses.weighted(pair, near),
    losses.text_retention,
    tx,
    surrogates=made_up,
    image_tower=False,
    split=split,
  )
