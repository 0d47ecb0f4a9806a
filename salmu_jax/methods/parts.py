"""The losses and transformations that a method can be composed of, with an entry for each.

The entries decide where a transformation stands in a chain, which halves a composed method reads,
and which parts contradict each other (`salmu_jax.methods.contradictions`).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import optax

from salmu_jax import losses, transforms
from salmu_jax.losses import Loss
from salmu_jax.ranges import Positive
from salmu_jax.transforms.measured import Prepare

# Where a transformation stands; those at the same place keep the order of the config.
BEFORE, AFTER = "before the optimizer", "after the optimizer"
INSTEAD = "instead of the optimizer"


class LossEntry(NamedTuple):
  """A loss by its name in a config.

  make: builds the loss from its arguments; None for no loss.
  flat_start: whether its gradient is zero at the starting parameters.
  teaches: whether descending on it teaches the forget pairs.
  """

  make: Callable[..., Loss] | None
  flat_start: bool = False
  teaches: bool = False


class ChainEntry(NamedTuple):
  """A transformation by its name in a config.

  make: builds it from its arguments, and from the run's `steps` and `seed` if it takes them.
  stands: BEFORE, INSTEAD or AFTER.
  prepare: builds the function that fills its state before the first step (`Method.prepares`).
  reads: the halves, of "forget" and "retain", whose gradients every update needs.
  measures: the halves whose gradients it gathers at the starting parameters.
  mixes: whether it sets the share of the retain gradient in the update.
  rescales: whether it changes only the length of the update.
  normalises: whether it scales both gradients to length one.
  chooses: whether it chooses the layers to update.
  stretches: whether it scales the update of each weight by a factor of its own.
  averages: whether its last update moves the weights to an average of earlier ones.
  goes_back: whether it reverses what was learnt.
  harmless: whether it can be combined with any other transformation, in any order.
  """

  make: Callable[..., optax.GradientTransformation]
  stands: str
  prepare: Callable[..., Prepare] | None = None
  reads: tuple[str, ...] = ()
  measures: tuple[str, ...] = ()
  mixes: bool = False
  rescales: bool = False
  normalises: bool = False
  chooses: bool = False
  stretches: bool = False
  averages: bool = False
  goes_back: bool = False
  harmless: bool = False

  @property
  def halves(self) -> tuple[str, ...]:
    """The halves that it depends on, whatever else is in the chain."""
    return (*self.reads, *self.measures)


def _scale(step_size: Positive) -> optax.GradientTransformation:
  return optax.scale(step_size)


def _clip(max_norm: Positive) -> optax.GradientTransformation:
  return optax.clip_by_global_norm(max_norm)


BOTH = ("forget", "retain")
# Descending on any of them forgets, except on those that teach.
FORGET_LOSSES = {
  "ascent": LossEntry(lambda: losses.ascent),
  "anchored_ascent": LossEntry(losses.anchored_ascent),
  "bounded_ascent": LossEntry(losses.bounded_ascent),
  "component_removed": LossEntry(lambda: losses.component_removed),
  "decoupling": LossEntry(lambda: losses.decoupling),
  "delete": LossEntry(lambda: losses.excluded_pair),
  "direct_similarity": LossEntry(lambda: losses.pair_similarity),
  "generic_captions": LossEntry(lambda: losses.contrastive_generic),
  "learn": LossEntry(lambda: losses.contrastive, teaches=True),
  "leave_reference": LossEntry(lambda: losses.weighted((-1.0, losses.divergence)), flat_start=True),
  "mismatched_target": LossEntry(losses.mismatched_target),
  "neutral_target": LossEntry(lambda: losses.neutral_target),
  "none": LossEntry(None),
  "npo": LossEntry(losses.npo),
  "shuffled_captions": LossEntry(lambda: losses.contrastive_shuffled),
  "zero_similarity": LossEntry(lambda: losses.zero_similarity),
}
USUAL_RETAIN_LOSS = "contrastive"
RETAIN_LOSSES = {
  USUAL_RETAIN_LOSS: LossEntry(lambda: losses.contrastive),
  "divergence": LossEntry(lambda: losses.divergence, flat_start=True),
  "embedding_retention": LossEntry(lambda: losses.embedding_retention, flat_start=True),
  "retention": LossEntry(lambda: losses.retention, flat_start=True),
  "similarity_retention": LossEntry(lambda: losses.similarity_retention, flat_start=True),
  "text_retention": LossEntry(lambda: losses.text_retention, flat_start=True),
}
CHAIN = {
  "scale": ChainEntry(_scale, BEFORE, rescales=True),
  "clip": ChainEntry(_clip, BEFORE, rescales=True),
  "project_conflicts": ChainEntry(transforms.project_conflicts, BEFORE, reads=BOTH),
  "munba": ChainEntry(transforms.munba, BEFORE, reads=BOTH, mixes=True, normalises=True),
  "alternate": ChainEntry(transforms.alternate, BEFORE, reads=BOTH, mixes=True),
  "add_retain": ChainEntry(transforms.add_retain, BEFORE, reads=("retain",), mixes=True),
  "hold_unimportant": ChainEntry(
    transforms.hold_unimportant, BEFORE, transforms.measure_freedom, measures=("forget",)
  ),
  "reward_distance": ChainEntry(transforms.reward_distance, BEFORE),
  "divide_by_importance": ChainEntry(
    transforms.divide_by_importance,
    AFTER,
    transforms.measure_importance,
    measures=("retain",),
    stretches=True,
  ),
  "project_out": ChainEntry(
    transforms.project_out, AFTER, transforms.find_basis, measures=("retain",)
  ),
  "project_both": ChainEntry(
    functools.partial(transforms.project_both, "retain"),
    AFTER,
    functools.partial(transforms.find_subspaces, "retain"),
    measures=("retain",),
  ),
  "collapse_common": ChainEntry(  # the same, measured on forget
    functools.partial(transforms.project_both, "forget"),
    AFTER,
    functools.partial(transforms.find_subspaces, "forget"),
    measures=("forget",),
  ),
  "keep_salient": ChainEntry(
    transforms.keep_salient, AFTER, transforms.find_salient, measures=("forget",)
  ),
  "select_layers": ChainEntry(
    transforms.select_layers, AFTER, transforms.find_layers, measures=BOTH, chooses=True
  ),
  "grow_layers": ChainEntry(
    transforms.grow_layers, AFTER, transforms.find_order, measures=BOTH, chooses=True
  ),
  "train_only": ChainEntry(transforms.train_only, AFTER, harmless=True),
  "trust_region": ChainEntry(transforms.trust_region, AFTER),
  "soup": ChainEntry(transforms.soup, AFTER, averages=True),
  "reflect": ChainEntry(transforms.reflect, AFTER, goes_back=True),
  "add_noise": ChainEntry(transforms.add_noise, AFTER),
  "dampen": ChainEntry(transforms.dampen, INSTEAD, measures=BOTH),
  "add_noise_by_importance": ChainEntry(
    transforms.add_noise_by_importance, INSTEAD, measures=("retain",)
  ),
}
