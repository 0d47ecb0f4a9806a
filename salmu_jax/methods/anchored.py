"""Anchored caption editing: parts forget captions from their images and holds similar captions.

Each row of forget comes with made-up captions, the surrogates w. They are the nearest captions that
must stay where they are (`salmu_jax.methods.surrogates`). The terms of the loss:

  mismatched_target    mean_i sqrt((S_ii - t_i)^2 + 0.05^2) - 0.05
                       with t_i = mean_{j != i} S0_ij + margin
  component_removed    mean_i (1 - v_i . unit(v0_i - (v0_i . u0_i) u0_i))
  surrogate_retention  mean (1 - w . w0)
  text_retention       mean (1 - v . v0) over retain

experiments/anchored derives the method. The target "removed" forgets less and keeps more than
"mismatched" (experiments/strict).
"""

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
  """Parts forget captions from their images; holds their surrogates and retain's captions.

    forget x mismatched_target + anchors x surrogate_retention + retain x text_retention

  Reads forget, retain's captions and the starting model. Moves the text tower. Source: our own.

  Args:
    target: "removed" puts component_removed in the place of mismatched_target.
    margin: of mismatched_target. surrogates, source, reworded: see `base.Surrogates`.

  Raises:
    InputError: a margin with the target "removed".
  """
  goal = losses.mismatched_target(margin) if target == "mismatched" else losses.component_removed
  if margin and target == "removed":
    raise InputError(f"margin = {margin} needs target = 'mismatched'; leave it out with 'removed'.")
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
