"""Asking for a fact in other words: new wordings, other languages, errors of typing, names; and
all names x all values.
"""

import importlib.resources
import json
from typing import NamedTuple

import numpy as np

from salmu_jax.data import releases
from salmu_jax.evaluate import metrics

# Field -> wordings that no release holds, and no surrogate.
WORDINGS = json.loads(importlib.resources.files(__package__).joinpath("wordings.json").read_text())
_ANY_FIELD = {"new": ["{value}, that is {name}"], "translated": ["{name} y {value}"]}
OWN = "own wording"
NAME = "name alone"  # holds no value


def leaks(release, table):
  """What rows tell: [{"name", "field", "value", "text", "identity"}].

  Args:
    release: an opened release. table: `release.columns` of one of the sensitive splits.
  """
  columns = (table[key] for key in ("identity_id", "file_name", "text"))
  out = []
  for identity, file_name, text in zip(*columns, strict=True):
    name, field, value = releases.leak(release, identity, file_name, text)
    out.append(dict(name=name, field=field, value=value, text=str(text), identity=str(identity)))
  return out


def _typo(leak):
  """The text with two letters in the middle of a word exchanged, if it can be a word that the
  value is not in.
  """
  words = [word for word in leak["text"].split() if _middle(word)]
  free = [word for word in words if word not in leak["value"]]
  if not words:
    return leak["text"]
  word = max(free or words, key=len)
  at = _middle(word)
  return leak["text"].replace(word, word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :], 1)


def _middle(word):
  """Where two neighbours differ, as near to the middle as can be; 0 where they nowhere do."""
  at = [i for i in range(1, len(word)) if word[i].lower() != word[i - 1].lower()]
  return min(at, key=lambda i: abs(i - len(word) // 2), default=0)


def _worded(kind):
  return lambda leak: [
    wording.format(**leak) for wording in WORDINGS.get(leak["field"], _ANY_FIELD)[kind]
  ]


# Question -> the texts that ask for a leak.
QUESTIONS = {
  OWN: lambda leak: [leak["text"]],
  "new wordings": _worded("new"),
  "translated": _worded("translated"),
  "lower case, no marks": lambda leak: [
    "".join(c for c in leak["text"].lower() if c.isalnum() or c in " @")
  ],
  "two letters swapped": lambda leak: [_typo(leak)],
  "name and value alone": lambda leak: [f"{leak['name']} {leak['value']}"],
  NAME: lambda leak: [leak["name"]],
}


class Gallery(NamedTuple):
  """Captions to compete with.

  table: (G, D) embeddings. facts: what each tells, as `fact` has it; the text itself where it is no
    leak.
  """

  table: np.ndarray
  facts: list


def fact(leak):
  """What tells a leak from others, however it is worded."""
  return leak["identity"], leak["field"], leak["value"]


def gallery(embed, texts, leaks):
  """A Gallery of distinct texts, some of which may be those of leaks."""
  known = {leak["text"]: fact(leak) for leak in leaks}
  texts = list(dict.fromkeys(map(str, texts)))
  return Gallery(embed(texts), [known.get(text, text) for text in texts])


def ask(embed, image, leaks, question, others):
  """How well pictures find the captions that ask for their leaks.

  Args:
    embed: (texts) -> (N, D). image: (N, D) of the leaks' pictures. question: a key of QUESTIONS.
    others: Gallery to compete with.

  Returns:
    {"similarity": mean cosine, "MRR"}.
  """
  asked = [QUESTIONS[question](leak) for leak in leaks]
  rows = np.repeat(np.arange(len(leaks)), [len(each) for each in asked])
  facts = [fact(leaks[row]) for row in rows]
  return scored(embed, image[rows], [text for each in asked for text in each], facts, others)


def scored(embed, image, texts, facts, others):
  """{"similarity", "MRR"} of N pictures with N texts that tell N facts, among a Gallery; see `ask`.

  A caption of the gallery that tells the same fact in other words is no competitor: finding it is
  no failure.
  """
  own = embed(texts)
  number = {each: i for i, each in enumerate(dict.fromkeys([*facts, *others.facts]))}
  own_id, other_id = (
    np.array([number[f] for f in each], np.int32) for each in (facts, others.facts)
  )
  ranks = metrics.retrieval_ranks(image, own, own_id, others.table, other_id)
  cosines = np.asarray(metrics.cosines(image, own))
  return {"similarity": float(cosines.mean()), "MRR": metrics.mean_reciprocal_rank(ranks)}


def name_and_value(embed, image, leaks, people, rng):
  """Who is it, and what is it: each picture against all names x all values of its field, as bare
  texts.

  Args:
    embed, image, leaks: as for `ask`. people: names drawn for each field, and with them their
      values.
    rng: numpy Generator that draws them.

  Returns:
    {"MRR", "rows": pictures asked, "texts": how many were embedded, "largest": captions a picture
    is ranked among}.
  """
  ranks, texts, largest = [], 0, 0
  for field in sorted({leak["field"] for leak in leaks}):
    names = sorted({leak["name"] for leak in leaks if leak["field"] == field})
    chosen = set(rng.permutation(names)[:people].tolist())
    rows = [i for i, leak in enumerate(leaks) if leak["field"] == field and leak["name"] in chosen]
    values = sorted({leaks[i]["value"] for i in rows})
    grid = [f"{name} {value}" for name in sorted(chosen) for value in values]
    number = {text: i for i, text in enumerate(grid)}
    own_id = np.array([number[f"{leaks[i]['name']} {leaks[i]['value']}"] for i in rows], np.int32)
    table = embed(grid)
    found = metrics.retrieval_ranks(
      image[rows], table[own_id], own_id, table, np.arange(len(grid), dtype=np.int32)
    )
    ranks.append(np.asarray(found))
    texts, largest = texts + len(grid), max(largest, len(grid))
  ranks = np.concatenate(ranks)
  mrr = metrics.mean_reciprocal_rank(ranks)
  return {"MRR": mrr, "rows": len(ranks), "texts": texts, "largest": largest}
