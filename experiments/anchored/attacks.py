"""Attacks that bring a forgotten fact back: questions in other words, and relearning.

The same questions are also asked about facts of the same people that were to be kept. Those facts
are in a holdout, which nothing is trained on. Every number is compared with Clean and Compromised.
"""

from collections.abc import Callable

import numpy as np
import optax
from ml_collections import ConfigDict

from experiments.anchored.bench import Bench
from salmu_jax.attacks import questions, relearning
from salmu_jax.data import releases

_GALLERY = 1000
_SPLITS = {"forget": "forget", "kept": "holdout_association"}
OTHER_PICTURES = "other pictures of the person"
# The share of forget that relearning trains on.
_SHARE = 0.05
_RELEARNING = ConfigDict(dict(batch_size=64, learning_rate=3e-4, steps=(10, 20, 40, 80)))


class Asker:
  """The questions of one bench, the same for every model."""

  def __init__(self, bench: Bench):
    self.bench, release = bench, bench.setup.release
    tables = {split: releases.columns(release, split) for split in _SPLITS.values()}
    self.leaks = {split: questions.leaks(release, table) for split, table in tables.items()}
    rng = np.random.default_rng(0)
    pools = [releases.columns(release, split)["text"] for split in ("forget", "retain_synth")]
    drawn = [pool[rng.permutation(len(pool))[:_GALLERY]] for pool in pools]
    self.gallery = np.concatenate(drawn)
    self.partly_forgotten = {leak["identity"] for leak in self.leaks["holdout_association"]}

  def ask(self, params: optax.Params) -> dict[str, dict]:
    """{question: {"forget", "kept": {"similarity", "MRR"}}}, of forgotten and of kept facts."""
    image = self.bench.embed(params).image
    embed = lambda texts: self.bench.evaluator.embed_texts(params, texts)
    gallery = questions.gallery(embed, self.gallery, self.leaks["forget"])
    answers = {}
    for question in questions.QUESTIONS:
      answers[question] = {
        part: questions.ask(embed, image[split], self.leaks[split], question, gallery)
        for part, split in _SPLITS.items()
      }
    answers[OTHER_PICTURES] = self._other_pictures(embed, image, gallery)
    return answers

  def _other_pictures(self, embed: Callable, image: dict, gallery) -> dict[str, dict]:
    """Captions of one split asked of pictures of the other, for people who are in both."""
    answers = {}
    pictures_of = {"forget": "holdout_association", "kept": "forget"}
    for part, pictures in pictures_of.items():
      rows_of = {}
      for row, leak in enumerate(self.leaks[pictures]):
        rows_of.setdefault(leak["identity"], []).append(row)
      rows, texts, facts = [], [], []
      for k, leak in enumerate(self.leaks[_SPLITS[part]]):
        own = rows_of.get(leak["identity"])
        if own and leak["identity"] in self.partly_forgotten:
          rows.append(own[k % len(own)])
          texts.append(leak["text"])
          facts.append(questions.fact(leak))
      answers[part] = questions.scored(embed, image[pictures][rows], texts, facts, gallery)
    return answers


def attack(bench: Bench, params: optax.Params) -> dict[str, dict]:
  """The answers to all questions, and MRR by steps of relearning, under attack of a model."""
  asker, program = Asker(bench), relearning.learner(bench.setup, _RELEARNING.learning_rate)
  facts = [questions.fact(leak) for leak in asker.leaks["forget"]]
  setup, judge = bench.setup, bench.evaluator
  relearned = relearning.relearn(setup, judge, params, facts, _SHARE, _RELEARNING, 0, program)
  return {"asked": asker.ask(params), "relearned": relearned["MRR"]}
