"""Attacks that bring a forgotten fact back: questions in other words, and relearning.

The same questions are also asked about facts of the same people that were to be kept. Those facts
are in a holdout, which nothing is trained on. Every number is compared with Clean and Compromised.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from salmu_jax.attacks import questions, relearning
from salmu_jax.attacks.base import Embed
from salmu_jax.benchmark import evaluation
from salmu_jax.data import releases
from salmu_jax.data.leaks import Leak, leaks
from salmu_jax.evaluate import measures, metrics

_GALLERY = 1000
_SPLITS = {"forget": "forget", "kept": "holdout_association"}
OTHER_PICTURES = "other pictures of the person"
# The share of forget that relearning trains on.
_SHARE = 0.05
_RELEARNING = ConfigDict(dict(batch_size=64, learning_rate=3e-4, steps=(10, 20, 40, 80)))


class CaptionGallery(NamedTuple):
  """Captions that compete with the texts of a question.

  Attributes:
    table: (G, D) their embeddings.
    facts: what each tells, see `Leak.fact`; the text itself where it is no leak.
  """

  table: np.ndarray
  facts: list[Hashable]


def caption_gallery(embed: Embed, texts: Iterable[str], leaks: Iterable[Leak]) -> CaptionGallery:
  """The gallery of distinct texts, some of which may be those of leaks."""
  fact_of = {leak.text: leak.fact for leak in leaks}
  texts = list(dict.fromkeys(map(str, texts)))
  return CaptionGallery(embed(texts), [fact_of.get(text, text) for text in texts])


def ask(
  embed: Embed,
  image: np.ndarray,
  leaks: Sequence[Leak],
  question: str,
  gallery: CaptionGallery,
) -> dict[str, float]:
  """How well pictures find the texts that ask for their leaks.

  Args:
    embed: embed(N texts) -> (N, D).
    image: (N, D) of the leaks' pictures.
    leaks: that are asked for.
    question: a key of `questions.QUESTIONS`.
    gallery: captions to compete with.

  Returns:
    {"similarity": mean cosine, "MRR"}.
  """
  texts = [questions.QUESTIONS[question](leak) for leak in leaks]
  rows = np.repeat(np.arange(len(leaks)), [len(wordings) for wordings in texts])
  facts = [leaks[row].fact for row in rows]
  return scores(
    embed, image[rows], [text for wordings in texts for text in wordings], facts, gallery
  )


def scores(
  embed: Embed,
  image: np.ndarray,
  texts: Sequence[str],
  facts: Sequence[Hashable],
  gallery: CaptionGallery,
) -> dict[str, float]:
  """{"similarity", "MRR"} of N pictures with N texts that tell N facts, among a gallery; see `ask`.

  A caption of the gallery that tells the same fact in other words is no competitor: finding it is
  no failure.
  """
  own = embed(texts)
  ranks = measures.ranks_among(image, own, facts, gallery.table, gallery.facts)
  cosines = np.asarray(metrics.cosines(image, own))
  return {"similarity": float(cosines.mean()), "MRR": metrics.mean_reciprocal_rank(ranks)}


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
    gallery = caption_gallery(embed, self.gallery, self.leaks["forget"])
    answers = {}
    for question in questions.QUESTIONS:
      answers[question] = {
        part: ask(embed, image[split], self.leaks[split], question, gallery)
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
      answers[part] = scores(embed, seen, list(texts), facts, gallery)
    return answers


def attack(bench, params: Mapping) -> dict:
  """A model asked in every way, and taught again."""
  inputs = evaluation.attack_inputs(bench.job, bench.data, bench.evaluator, bench.params)
  batch_size = _RELEARNING.batch_size
  program = relearning.learner(inputs, max(_RELEARNING.steps), batch_size)
  mix = relearning.share_of_forget(inputs, _SHARE, batch_size)
  ranks = np.asarray(bench.evaluator.forget_ranks(params))[mix.judged]
  how = "all", _RELEARNING.learning_rate
  points = relearning.relearn(inputs, program, params, mix, how, _RELEARNING)
  curve = {0: metrics.mean_reciprocal_rank(ranks)} | {point.step: point.mrr for point in points}
  return {"asked": Asker(bench).ask(params), "relearned": curve}
