"""Gallery: who is it, and what is it? Each picture against all names x all values of a field."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from salmu_jax.attacks.base import (
  FORGET,
  Attack,
  Embed,
  Finding,
  Inputs,
  Params,
  Run,
)
from salmu_jax.data.leaks import Leak
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.ranges import Whole

RANGES = {"people": Whole(1)}


def settings() -> ConfigDict:
  """The settings of the attack."""
  config = ConfigDict()
  # People that are drawn for each field, with their names and values.
  config.people = 40
  return config


def make(inputs: Inputs, config: ConfigDict) -> Run:
  """Returns run(params, z), see `base.Attack`."""

  def run(params: Params, z: Embedded) -> Finding:
    embed = inputs.embedder(params, "names x values")
    details = name_and_value(embed, z.image[FORGET], inputs.leaks, config.people, inputs.rng())
    return Finding({"MRR": details["MRR"]}, details)

  return run


def name_and_value(
  embed: Embed, image: np.ndarray, leaks: Sequence[Leak], people: int, rng: np.random.Generator
) -> dict[str, float | int]:
  """How well pictures find their name and value among all names x all values, as bare texts.

  Args:
    embed: embed(N texts) -> (N, D). image: (N, D) of the leaks' pictures. leaks: of forget.
    people: names drawn for each field, and with them their values.
    rng: draws the names.

  Returns:
    {"MRR", "rows": pictures asked about, "texts": how many were embedded, "largest": the number of
    texts that a picture is ranked among, at most}.
  """
  ranks, texts, largest = [], 0, 0
  for field in sorted({leak.field for leak in leaks}):
    names = sorted({leak.name for leak in leaks if leak.field == field})
    chosen = set(rng.permutation(names)[:people].tolist())
    rows = [i for i, leak in enumerate(leaks) if leak.field == field and leak.name in chosen]
    values = sorted({leaks[row].value for row in rows})
    grid = [f"{name} {value}" for name in sorted(chosen) for value in values]
    place = {text: i for i, text in enumerate(grid)}
    own_id = np.array([place[f"{leaks[row].name} {leaks[row].value}"] for row in rows], np.int32)
    table = embed(grid)
    grid_id = np.arange(len(grid), dtype=np.int32)
    field_ranks = metrics.retrieval_ranks(image[rows], table[own_id], own_id, table, grid_id)
    ranks.append(np.asarray(field_ranks))
    texts, largest = texts + len(grid), max(largest, len(grid))
  ranks = np.concatenate(ranks)
  mrr = metrics.mean_reciprocal_rank(ranks)
  return {"MRR": mrr, "rows": len(ranks), "texts": texts, "largest": largest}


ATTACK = Attack(
  key="Gallery",
  label="Picking name and value among all of both, MRR",
  reduction="mean",
  make=make,
  settings=settings,
  ranges=RANGES,
  needs=("facts",),
)
