"""Rephrasing: do other wordings of a caption find what the caption itself no longer finds?"""

import numpy as np
from ml_collections import ConfigDict

from salmu_jax import fields
from salmu_jax.attacks import questions
from salmu_jax.attacks.base import FORGET, Attack, CheckBatch, Finding, Inputs, Params, Run
from salmu_jax.evaluate.embeddings import Embedded


def settings() -> ConfigDict:
  """The settings of the attack."""
  config = ConfigDict()
  # Rows of forget that are asked about, spread evenly over forget.
  config.rows = 800
  return config


def check(config: ConfigDict, where: str, check_batch: CheckBatch) -> None:
  """Raises InputError for a number of rows that is impossible, see `base.Attack`."""
  del check_batch
  fields.check_positive(config, where, "rows")


def make(inputs: Inputs, config: ConfigDict) -> Run:
  """Returns run(params, z), see `base.Attack`."""
  count = min(config.rows, len(inputs.leaks))
  rows = np.linspace(0, len(inputs.leaks) - 1, count).round().astype(int)
  leaks = [inputs.leaks[row] for row in rows]
  captions = inputs.evaluator.gallery()

  def run(params: Params, z: Embedded) -> Finding:
    embed = inputs.embedder(params, "other wordings")
    gallery = questions.caption_gallery(z.of, captions, inputs.leaks)
    answers = {
      question: questions.ask(embed, z.image[FORGET][rows], leaks, question, gallery)
      for question in questions.QUESTIONS
    }
    parts = {
      question: answer["MRR"]
      for question, answer in answers.items()
      if question not in (questions.OWN, questions.NAME)
    }
    return Finding(parts, {"asked": answers})

  return run


ATTACK = Attack(
  key="Rephrasing",
  label="Retrieval by the wording that serves best",
  reduction="max",
  make=make,
  settings=settings,
  check=check,
)
