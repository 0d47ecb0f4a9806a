"""Asking for a fact in other words: new wordings, other languages, typos, name and value alone."""

import importlib.resources
import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from salmu_jax.attacks.base import Embed
from salmu_jax.data.leaks import Leak
from salmu_jax.evaluate import measures, metrics

# Field -> wordings that no release holds, and no surrogate.
WORDINGS = json.loads(importlib.resources.files(__package__).joinpath("wordings.json").read_text())
_ANY_FIELD = {"new": ["{value}, that is {name}"], "translated": ["{name} y {value}"]}
OWN = "own wording"
NAME = "name alone"  # holds no value


def _typo(leak):
  """The text with two neighbouring letters swapped in the middle of its longest word.

  A word that is part of the value is taken only if there is no other.
  """
  words = [word for word in leak.text.split() if _middle(word)]
  free = [word for word in words if word not in leak.value]
  if not words:
    return leak.text
  word = max(free or words, key=len)
  at = _middle(word)
  return leak.text.replace(word, word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :], 1)


def _middle(word):
  """The place nearest the middle whose letter differs from the one before it; 0 if none does."""
  places = [i for i in range(1, len(word)) if word[i].lower() != word[i - 1].lower()]
  return min(places, key=lambda i: abs(i - len(word) // 2), default=0)


def _worded(kind):
  return lambda leak: [
    wording.format(**leak._asdict()) for wording in WORDINGS.get(leak.field, _ANY_FIELD)[kind]
  ]


# Question -> the texts that ask for a leak.
QUESTIONS: dict[str, Callable[[Leak], list[str]]] = {
  OWN: lambda leak: [leak.text],
  "new wordings": _worded("new"),
  "translated": _worded("translated"),
  "lower case, no marks": lambda leak: [
    "".join(c for c in leak.text.lower() if c.isalnum() or c in " @")
  ],
  "two letters swapped": lambda leak: [_typo(leak)],
  "name and value alone": lambda leak: [f"{leak.name} {leak.value}"],
  NAME: lambda leak: [leak.name],
}


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
    question: a key of QUESTIONS.
    gallery: captions to compete with.

  Returns:
    {"similarity": mean cosine, "MRR"}.
  """
  texts = [QUESTIONS[question](leak) for leak in leaks]
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
