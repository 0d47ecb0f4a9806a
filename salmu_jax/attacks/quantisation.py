"""Quantisation: does what was forgotten come back when the weights are stored in fewer bits?

Small edits of many weights can vanish in the rounding, so that the starting model returns (Zhang et
al., arXiv 2410.16454).
"""

import functools

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from salmu_jax.attacks.base import (
  FORGET,
  Attack,
  Finding,
  Inputs,
  Params,
  Run,
  retrieved,
)
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.ranges import Each, Whole

RANGES = {"bits": Each(Whole(2, 8), least=1)}


def settings() -> ConfigDict:
  """The settings of the attack."""
  config = ConfigDict()
  # Bits of a weight.
  config.bits = (8, 4)
  return config


def make(inputs: Inputs, config: ConfigDict) -> Run:
  """Returns run(params, z), see `base.Attack`."""
  people = inputs.evaluator.tables[FORGET]["identity_id"]

  def run(params: Params, z: Embedded) -> Finding:
    ranks = {
      f"int{bits}": inputs.evaluator.forget_ranks(quantised(params, bits)) for bits in config.bits
    }
    before = metrics.mean_reciprocal_rank(inputs.evaluator.ranks(z))
    return retrieved(ranks, people, {"before": before})

  return run


@functools.partial(jax.jit, static_argnames="bits")
def quantised(params: Params, bits: int) -> Params:
  """Weights rounded to signed integers of some bits, and scaled back.

  Each output channel (the last axis) of a matrix or table has a scale of its own, by its largest
  magnitude. Gains, biases and the logit scale stay as they are.
  """
  largest = 2 ** (bits - 1) - 1

  def rounded(weights):
    if weights.ndim < 2:
      return weights
    axes = tuple(range(weights.ndim - 1))
    scale = jnp.max(jnp.abs(weights), axis=axes, keepdims=True) / largest
    steps = jnp.round(weights / jnp.where(scale > 0, scale, 1))
    return steps * scale

  return jax.tree.map(rounded, params)


ATTACK = Attack(
  key="Quantisation",
  label="Retrieval after the weights are rounded to few bits, MRR",
  reduction="max",
  make=make,
  settings=settings,
  ranges=RANGES,
)
