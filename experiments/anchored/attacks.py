"""Attacks that bring a forgotten fact back: questions in other words, and relearning.

The same questions are also asked about facts of the same people that were to be kept. Those facts
are in a holdout, which nothing is trained on. Every number is compared with Clean and Compromised.
"""

from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from salmu_jax.attacks import questions, relearning
from salmu_jax.benchmark import evaluation
from salmu_jax.data import releases
from salmu_jax.data.leaks import leaks

_GALLERY = 1000
_SPLITS = {"forget": "forget", "kept": "holdout_association"}
OTHER_PICTURES = "other pictures of the person"
# The share of forget that relearning trains on.
_SHARE = 0.05
_RELEARNING = ConfigDict(dict(batch_size=64, learning_rate=3e-4, steps=(10, 20, 40, 80)))


class Asker:
  """The questions of one bench, the same for every model."""

  def __init__(self, bench):
    self.bench, release = bench, bench.data.release
    tables = {split: releases.columns(release, split) for split in _SPLITS.values()}
    self.leaks = {split: leaks(release, table) for split, table in tables.items()}
    rng = np.random.default_rng(0)
    pools = [releases.columns(release, split)["text"] for split in ("forget", "retain_synth")]
    drawn = [pool[rng.permutation(len(pool))[:_GALLERY]] for pool in pools]
    self.gallery = np.concatenate(drawn)
    self.partly = {leak.identity for leak in self.leaks["holdout_association"]}

  def ask(self, params: Mapping) -> dict:
    """{question: {"forget", "kept": {"similarity", "MRR"}}}: the leaks, and what was to stay of
    the same people.
    """
    image = self.bench.embed(params).image
    embed = lambda texts: self.bench.evaluator.embed_texts(params, texts)
    gallery = questions.caption_gallery(embed, self.gallery, self.leaks["forget"])
    answers = {}
    for question in questions.QUESTIONS:
      answers[question] = {
        part: questions.ask(embed, image[split], self.leaks[split], question, gallery)
        for part, split in _SPLITS.items()
      }
    answers[OTHER_PICTURES] = self._other_pictures(embed, image, gallery)
    return answers

  def _other_pictures(self, embed, image, gallery):
    """Captions of one split on pictures of the other, of the people who are in both."""
    answers = {}
    pictures_of = {"forget": "holdout_association", "kept": "forget"}
    for part, pictures in pictures_of.items():
      rows_of = {}
      for row, leak in enumerate(self.leaks[pictures]):
        rows_of.setdefault(leak.identity, []).append(row)
      pairs = [
        (rows_of[leak.identity][k % len(rows_of[leak.identity])], leak.text, leak.fact)
        for k, leak in enumerate(self.leaks[_SPLITS[part]])
        if leak.identity in rows_of and leak.identity in self.partly
      ]
      rows, texts, facts = zip(*pairs, strict=True)
      seen = image[pictures][np.array(rows)]
      answers[part] = questions.scores(embed, seen, list(texts), facts, gallery)
    return answers


def attack(bench, params: Mapping) -> dict:
  """A model asked in every way, and taught again."""
  inputs = evaluation.attack_inputs(bench.job, bench.data, bench.evaluator, bench.params["clean"])
  program = relearning.learner(inputs, _RELEARNING.learning_rate, _RELEARNING.batch_size)
  ranks = bench.evaluator.forget_ranks(params)
  relearnt = relearning.relearn(inputs, program, params, ranks, _SHARE, _RELEARNING)
  return {"asked": Asker(bench).ask(params), "relearned": relearnt["MRR"]}
