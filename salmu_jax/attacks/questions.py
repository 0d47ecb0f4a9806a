"""Asks for a fact in other words: new wordings, other languages, typos, name and value alone."""

import importlib.resources
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from salmu_jax.attacks.base import Embed
from salmu_jax.data.leaks import Leak
from salmu_jax.evaluate import facts

# Field -> wordings that no release and no surrogate holds.
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


class Rivals(NamedTuple):
  """What the true value and the true name of a leak compete with.

  values: other values of the field. names: other people's names.
  """

  values: Sequence[str]
  names: Sequence[str]


def rivals(leaks: Sequence[Leak], count: int, rng: np.random.Generator) -> list[Rivals]:
  """The rivals of each leak, at most `count` of each kind; leaks of a field share one draw.

  Args:
    leaks: all of forget. rng: draws values and names.
  """
  drawn = facts.drawn_values(leaks, rng)
  names = rng.permutation(sorted({leak.name for leak in leaks})).tolist()
  pick = lambda pool, own: [other for other in pool if other != own][:count]
  return [Rivals(pick(drawn[leak.field], leak.value), pick(names, leak.name)) for leak in leaks]


class Question(NamedTuple):
  """One text that asks for a leak, and the same text with rivals in the place of the truth.

  row: of the leak. texts: the true one first, at least two.
  """

  row: int
  texts: list[str]


def for_values(question: str, leaks: Sequence[Leak], others: Sequence[Rivals]) -> list[Question]:
  """Asks leaks for their values, in every text of a question.

  Leaks whose caption does not hold the value, or whose field has no other value, are skipped.

  Args:
    question: a key of QUESTIONS. leaks: to ask for. others: the rivals of each.
  """
  asked = []
  for row, (leak, rival) in enumerate(zip(leaks, others, strict=True)):
    if rival.values and leak.with_value("") is not None:
      changed = [leak._replace(value=v, text=leak.with_value(v)) for v in rival.values]
      asked += _questions(question, row, [leak, *changed])
  return asked


def for_names(question: str, leaks: Sequence[Leak], others: Sequence[Rivals]) -> list[Question]:
  """Asks leaks for their people, in every text of a question; captions must hold the name."""
  asked = []
  for row, (leak, rival) in enumerate(zip(leaks, others, strict=True)):
    if rival.names and leak.name in leak.text:
      changed = [leak._replace(name=n, text=leak.text.replace(leak.name, n)) for n in rival.names]
      asked += _questions(question, row, [leak, *changed])
  return asked


def _questions(question, row, variants):
  """A Question for each text: the same text of the leak and of its changed forms."""
  texts = zip(*(QUESTIONS[question](leak) for leak in variants), strict=True)
  distinct = (list(dict.fromkeys(forms)) for forms in texts)
  return [Question(row, forms) for forms in distinct if len(forms) > 1]


def ask(embed: Embed, image: np.ndarray, asked: Sequence[Question]) -> facts.Answers | None:
  """How pictures answer; None without questions.

  Args:
    embed: embed(N texts) -> (N, D). image: (N, D) of the pictures of the leaks. asked: the
      questions.
  """
  if not asked:
    return None
  texts = list(dict.fromkeys(text for question in asked for text in question.texts))
  place = {text: at for at, text in enumerate(texts)}
  places = [[place[text] for text in question.texts] for question in asked]
  rows = np.array([question.row for question in asked])
  return facts.answers(image[rows], embed(texts), places)
