"""Does a model know the fact, or only the person? Asks pictures for the value of a private field.

A caption ties a face to a name and a value, and the name alone finds the face. So these questions
give the name and ask only for the value: a picture is compared with one sentence about its person,
once with the true value and once with each of several other values of the same field.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from salmu_jax.data.leaks import Leak, leaks, values_of
from salmu_jax.data.releases import Release
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.generate import sentences
from salmu_jax.generate.personas import pick
from salmu_jax.results.splits import sensitive

Array = jax.Array | np.ndarray
_BLOCK = 64  # questions that are scored at a time
_SENTENCES = 2  # of each field, with the name and without
_STREAM = 11  # of the seed: separate draws, which leave those of the released evaluator unchanged

# {(field, whether the name is in it): sentences that no release holds}.
Sentences = Mapping[tuple[str, bool], Sequence[str]]


def _own(leak: Leak, drawn: Sentences, rng: np.random.Generator) -> Callable[[str], str] | None:
  """The row's caption as a function of the value; None if it does not hold its value."""
  del drawn, rng
  return None if leak.with_value(leak.value) is None else leak.with_value


def _held_out(
  leak: Leak, drawn: Sentences, rng: np.random.Generator, named: bool
) -> Callable[[str], str] | None:
  """One of the drawn sentences as a function of the value; None if the field has none."""
  wordings = drawn.get((leak.field, named))
  if not wordings:
    return None
  wording = pick(rng, wordings)
  return lambda value: wording.replace("{name}", leak.name).replace("{value}", value)


_NO_WORDINGS = "there are no wordings for the fields of {split}"
# Key of `metrics_table.FACT_WORDINGS` -> how it words a question, and the reason if none exists.
WORDINGS: dict[str, tuple[Callable, str]] = {
  "own": (_own, "no caption of {split} holds its value"),
  "new": (functools.partial(_held_out, named=True), _NO_WORDINGS),
  "nameless": (functools.partial(_held_out, named=False), _NO_WORDINGS),
}


class Asked(NamedTuple):
  """The questions about a split in one wording.

  Attributes:
    rows: (F,) the rows of the split whose pictures are asked, sorted.
    texts: F lists of sentences, the one with the true value first, then with other values.
    why: the reason if there are no questions.
  """

  rows: np.ndarray
  texts: list[list[str]]
  why: str = ""


class Answers(NamedTuple):
  """How F questions were answered.

  Attributes:
    reciprocal_rank: (F,) 1 if the true value ranks first. Tied values get the mean over their
      orders, so a model that cannot tell values apart is at chance.
    pair: (F,) 1 if the true value is nearer than the first of the other values, 1/2 if they tie.
    margin: (F,) cosine with the true value less the mean cosine with the others.
  """

  reciprocal_rank: np.ndarray
  pair: np.ndarray
  margin: np.ndarray


def questions(
  release: Release, tables: Mapping[str, Mapping[str, np.ndarray]], settings: ConfigDict
) -> dict[str, dict[str, Asked]]:
  """The questions of every sensitive split; the same for every model.

  Some facts of each split are drawn, and one row of each fact, if possible one whose caption holds
  the value. The other values of a field are drawn once, from all its values in the sensitive
  splits. Values that the person also has (a second e-mail address) are excluded.

  Args:
    release: the opened release. tables: split -> `releases.columns`.
    settings: `config.evaluate`, of which `seed`, `facts` and `rivals` are read.

  Returns:
    {split: {wording: Asked}}.
  """
  leaks_of = {split: leaks(release, tables[split]) for split in sensitive()}
  rng = np.random.default_rng([settings.seed, _STREAM])
  pool = drawn_values((leak for split in leaks_of.values() for leak in split), rng)
  drawn, asked = _drawn_sentences(pool, rng), {}
  for split, rows in leaks_of.items():
    chosen = _drawn_rows(rows, settings.facts, rng)
    others = {row: _others(release, rows[row], pool, settings.rivals) for row in chosen}
    asked[split] = {
      wording: _asked(split, wording, rows, others, drawn, rng) for wording in WORDINGS
    }
  return asked


def _drawn_sentences(fields: Iterable[str], rng: np.random.Generator) -> Sentences:
  """A few sentences of each field that no release holds.

  They are few, so that facts of one person share them and each is embedded once.
  """
  worded = sentences.parts()["held_out"]["fields"]
  return {
    (field, named): [sentences.held_out(field, named, rng) for _ in range(_SENTENCES)]
    for field in fields
    if field in worded
    for named in (True, False)
  }


def drawn_values(told: Iterable[Leak], rng: np.random.Generator) -> dict[str, list[str]]:
  """{field: the distinct values that leaks hold for it, in random order}."""
  return {field: rng.permutation(values).tolist() for field, values in values_of(told).items()}


def _drawn_rows(rows: Sequence[Leak], facts: int, rng: np.random.Generator) -> list[int]:
  """The rows of some facts, one of each."""
  rows_of: dict[tuple, list[int]] = {}
  for row, leak in enumerate(rows):
    rows_of.setdefault(leak.fact, []).append(row)
  groups = [rows_of[fact] for fact in sorted(rows_of)]
  chosen = rng.permutation(len(groups))[:facts]
  drawn = []
  for number in sorted(chosen):
    whole = [row for row in groups[number] if rows[row].with_value("") is not None]
    options = whole or groups[number]
    drawn.append(options[int(rng.integers(len(options)))])
  return sorted(drawn)


def _others(
  release: Release, leak: Leak, pool: Mapping[str, Sequence[str]], count: int
) -> list[str]:
  """Values of the leak's field that its person does not have, `count` of them at most."""
  own = release.identities[leak.identity][leak.field]
  own = {str(value) for value in (own if isinstance(own, list) else [own])} | {leak.value}
  return [value for value in pool[leak.field] if value not in own][:count]


def _asked(
  split: str,
  wording: str,
  rows: Sequence[Leak],
  others: Mapping[int, Sequence[str]],
  drawn: Sentences,
  rng: np.random.Generator,
) -> Asked:
  ask, why = WORDINGS[wording]
  sentence_of = {row: ask(rows[row], drawn, rng) for row in others}
  askable = [row for row, sentence in sentence_of.items() if sentence]
  chosen = [row for row in askable if others[row]]
  if not chosen:
    reason = "no field of {split} has a second value" if askable else why
    return Asked(np.zeros(0, int), [], reason.format(split=split))
  texts = [[sentence_of[row](value) for value in (rows[row].value, *others[row])] for row in chosen]
  return Asked(np.array(chosen), texts)


def answered(
  asked: Mapping[str, Mapping[str, Asked]], z: Embedded
) -> dict[str, dict[str, tuple[Asked, Answers]]]:
  """How a model answers all questions: {split: {wording: (Asked, Answers)}}.

  Args:
    asked: from `questions`. z: the model's embeddings of the release, with all sentences asked.
  """
  row_of, table = z.text
  parts = {(s, w): part for s, by in asked.items() for w, part in by.items()}
  image = [z.image[split][part.rows] for (split, _), part in parts.items()]
  places = [[row_of[t] for t in texts] for part in parts.values() for texts in part.texts]
  if not places:
    nothing = Answers(*[np.zeros(0, np.float32)] * 3)
    return {s: {w: (part, nothing) for w, part in by.items()} for s, by in asked.items()}
  every, first = answers(np.concatenate(image), table, places), 0
  results: dict[str, dict[str, tuple[Asked, Answers]]] = {split: {} for split in asked}
  for (split, wording), part in parts.items():
    rows = slice(first, first + len(part.rows))
    results[split][wording] = part, Answers(*(numbers[rows] for numbers in every))
    first = rows.stop
  return results


def described(
  answers_of: Mapping[str, Mapping[str, tuple[Asked, Answers]]],
) -> dict[str, dict[str, dict]]:
  """What a results file holds on questions besides their metrics: {split: {wording: entry}}.

  An entry has "chance", the mean reciprocal rank of a guess, and "margins", for each question the
  cosine with the true value less the mean cosine with the others; or "why", the reason if there are
  no questions.
  """
  entry = lambda asked, answers: (
    {"chance": chance(asked), "margins": answers.margin.tolist()}
    if len(asked.rows)
    else {"why": asked.why}
  )
  return {
    split: {wording: entry(*pair) for wording, pair in by.items()}
    for split, by in answers_of.items()
  }


def answers(image: Array, table: Array, places: Sequence[Sequence[int]]) -> Answers:
  """How F pictures answer.

  A score that is NaN counts as above the true value, so a model that returns NaN is below chance.

  Args:
    image: (F, D) of the pictures, unit rows. table: (T, D) of sentences, unit rows.
    places: for each of the F questions, the rows of `table` with its sentences: at least two, the
      true one first.
  """
  counts = np.array([len(place) for place in places])
  there = np.arange(counts.max()) < counts[:, None]
  index = np.zeros(there.shape, np.int32)
  index[there] = np.concatenate(places)
  above, tied, margin = map(np.asarray, _compared(image, table, index, there))
  higher, ties = above.sum(axis=1), tied.sum(axis=1)
  # The mean of 1 / (1 + rank) over the places that tied values share; in float64, as all metrics.
  harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, index.shape[1] + 1))])
  reciprocal = (harmonic[higher + ties + 1] - harmonic[higher]) / (ties + 1)
  return Answers(reciprocal, np.where(above[:, 0], 0.0, np.where(tied[:, 0], 0.5, 1.0)), margin)


@jax.jit
def _compared(image, table, index, there):
  """(F, K - 1) whether each other value is above the true one, (F, K - 1) whether it ties, and (F,)
  the margins.
  """

  def compare(row):
    picture, sentences_of, valid = row  # (D,), (K,), (K,)
    scores = jnp.einsum("d,kd->k", picture, table[sentences_of], precision=metrics.HIGHEST)
    true, others, valid = scores[0], scores[1:], valid[1:]
    above = valid & ~(others <= true + metrics.TIE)
    tied = valid & ~above & ~(others < true - metrics.TIE)
    return above, tied, true - jnp.sum(jnp.where(valid, others, 0)) / jnp.sum(valid)

  rows = (image.astype(jnp.float32), index, there)
  return jax.lax.map(compare, rows, batch_size=_BLOCK)


def chance(part: Asked) -> float:
  """The mean reciprocal rank of a guess: of n values, H(n) / n."""
  harmonic = np.cumsum(1 / np.arange(1, 1 + max(map(len, part.texts))))
  return float(np.mean([harmonic[len(texts) - 1] / len(texts) for texts in part.texts]))
