"""Rephrasing: do other wordings of a caption reveal a value that the caption itself no longer does?

Each rewording asks for the value, among the same sentence with other values. How well it finds the
person, among the same sentence with other names, is reported too. Both compare texts of a single
rewording, so captions that were moved away do not lift others.
"""

import numpy as np
from ml_collections import ConfigDict

from salmu_jax.attacks import questions
from salmu_jax.attacks.base import FORGET, Attack, Finding, Inputs, Params, Run
from salmu_jax.data.leaks import why_not_asked
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.ranges import Whole
from salmu_jax.results import bootstrap

RANGES = {"rows": Whole(1), "rivals": Whole(1)}


def settings() -> ConfigDict:
  """The settings of the attack."""
  config = ConfigDict()
  # Rows of forget that are asked about, spread evenly over forget.
  config.rows = 200
  # Other values, and other names, that the true one competes with; at most.
  config.rivals = 20
  return config


def make(inputs: Inputs, config: ConfigDict) -> Run:
  """Returns run(params, z), see `base.Attack`."""
  count = min(config.rows, len(inputs.leaks))
  rows = np.linspace(0, len(inputs.leaks) - 1, count).round().astype(int)
  leaks = [inputs.leaks[row] for row in rows]
  others = questions.rivals(inputs.leaks, config.rivals, inputs.rng())
  others = [others[row] for row in rows]
  values = {q: questions.for_values(q, leaks, others) for q in questions.QUESTIONS}
  names = {q: questions.for_names(q, leaks, others) for q in (questions.OWN, questions.NAME)}

  def run(params: Params, z: Embedded) -> Finding:
    embed, image = inputs.embedder(params, "other wordings"), z.image[FORGET][rows]
    value_answers = {q: questions.ask(embed, image, asked) for q, asked in values.items()}
    name_answers = {q: questions.ask(embed, image, asked) for q, asked in names.items()}
    parts = {
      question: _mean(answers.reciprocal_rank)
      for question, answers in value_answers.items()
      if answers and question not in (questions.OWN, questions.NAME)
    }
    details = {"asked": _told(value_answers), "person": _told(name_answers)}
    if not parts:
      return Finding({}, details, why_not_asked(inputs.leaks))
    best = max(parts, key=parts.get)
    people = [leaks[question.row].identity for question in values[best]]
    interval = bootstrap.of_rows(value_answers[best].reciprocal_rank, people)
    return Finding(parts, details, interval=interval)

  return run


def _told(answers):
  """{question: {"MRR", "pairs": the share of true above changed, "margin": mean cosine of true less
  changed}}, of the questions that were asked.
  """
  return {
    question: {
      "MRR": _mean(told.reciprocal_rank),
      "pairs": _mean(told.pair),
      "margin": _mean(told.margin),
    }
    for question, told in answers.items()
    if told
  }


def _mean(numbers):
  return float(np.mean(numbers, dtype=np.float64))


ATTACK = Attack(
  key="Rephrasing",
  label="Retrieval of the value by the rewording that serves best, MRR",
  reduction="max",
  make=make,
  settings=settings,
  ranges=RANGES,
  needs=("facts",),
)
