"""Interpolation: does what was forgotten come back on the straight line to Compromised?

A model that was unlearned in small steps lies in the loss valley of its start: half-way back, the
loss on the forget pairs is no higher than at the ends, and they are retrieved again. Models that
were trained separately have a barrier between them (Lubana et al., arXiv 2211.08422). Clean and
Compromised share their initial weights; Clean's number shows what that alone gives.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from salmu_jax import losses
from salmu_jax.attacks.base import (
  FORGET,
  Attack,
  Finding,
  Inputs,
  Params,
  Run,
  retrieved,
)
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.models import clip
from salmu_jax.ranges import Each, Range

_BLOCK = 256  # pairs that the loss contrasts


RANGES = {"places": Each(Range(0, 1, above=True, below=True), least=1)}


def settings() -> ConfigDict:
  """The settings of the attack."""
  config = ConfigDict()
  # Places on the line where forget is retrieved: 0 is the model, 1 is Compromised.
  config.places = (0.5,)
  return config


def make(inputs: Inputs, config: ConfigDict) -> Run:
  """Returns run(params, z), see `base.Attack`."""
  captions = inputs.evaluator.tables[FORGET]["text"]
  people = inputs.evaluator.tables[FORGET]["identity_id"]
  order = inputs.rng().permutation(len(captions))
  loss = lambda params, z: pair_loss(z.image[FORGET][order], z.of(captions[order]), params)

  @functools.cache
  def compromised_loss() -> float:
    return loss(inputs.compromised, inputs.evaluator.embed_forget(inputs.compromised))

  def run(params: Params, z: Embedded) -> Finding:
    ranks, losses_of = {}, {0.0: loss(params, z), 1.0: compromised_loss()}
    for place in config.places:
      between = interpolated(params, inputs.compromised, place)
      embedded = inputs.evaluator.embed_forget(between)
      ranks[f"{place:g}"] = inputs.evaluator.ranks(embedded)
      losses_of[place] = loss(between, embedded)
    details = {
      "losses": {f"{place:g}": losses_of[place] for place in sorted(losses_of)},
      "barrier": barrier(losses_of),
    }
    return retrieved(ranks, people, details)

  return run


@jax.jit
def interpolated(params: Params, other: Params, place: float) -> Params:
  """The parameters at a place between two models, 0 for the first."""
  return jax.tree.map(lambda a, b: (1 - place) * a + place * b, params, other)


def barrier(losses_of: dict[float, float]) -> float:
  """How far the loss rises above the line between the losses at 0 and 1; at least 0.

  Args:
    losses_of: {place: loss}, of 0, 1 and places between.
  """
  line = lambda place: (1 - place) * losses_of[0.0] + place * losses_of[1.0]
  return max(loss - line(place) for place, loss in losses_of.items())


def pair_loss(image: np.ndarray, text: np.ndarray, params: Params) -> float:
  """The contrastive loss of (N, D) pairs, in blocks of consecutive rows; an incomplete last
  block is left out, unless it is the only one.
  """
  scale = jnp.minimum(jnp.exp(params["logit_scale"]), clip.LOGIT_SCALE_MAX)
  whole = max(1, len(image) // _BLOCK)
  rows = [slice(number * _BLOCK, (number + 1) * _BLOCK) for number in range(whole)]
  return float(np.mean([_loss(image[part], text[part], scale) for part in rows]))


@jax.jit
def _loss(image, text, scale):
  return losses.contrastive(clip.Embeddings(image, text, scale))


ATTACK = Attack(
  key="Interpolation",
  label="Retrieval on the straight line to Compromised, MRR",
  reduction="max",
  make=make,
  settings=settings,
  ranges=RANGES,
)
