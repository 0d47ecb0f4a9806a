"""The validation split that methods are tuned on: forget and retain rows, never a holdout.

Forget is split by person. Methods are tuned to forget three quarters of the forget people; the
others stand in for people who should not be forgotten. A tenth of the retain rows is held out from
training, to measure what is retained.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from salmu_jax.benchmark.job import Job
from salmu_jax.data import pipeline, releases
from salmu_jax.data.dataset import Data
from salmu_jax.data.records import Rows
from salmu_jax.evaluate import metrics

FORGET_SHARE, RETAIN_SHARE = 0.75, 0.9
TARGET, FLOOR = 0.99, 0.5  # share of leakage to remove, share of retain to keep
_GALLERY = 1000


class Pairs(NamedTuple):
  """Pictures (N, S, S, 3), tokens (N, L) and captions (N) of rows."""

  image: np.ndarray
  tokens: np.ndarray
  text: list


class Cut(NamedTuple):
  """The rows to train on and the pairs to measure.

  records: split -> rows that tuning trains on.
  forget: the forget pairs among these, to measure the leak.
  spared: pairs of the other people in forget.
  retain: retain pairs held out from training.
  """

  records: dict
  forget: Pairs
  spared: Pairs
  retain: Pairs


def make(job: Job, data: Data, seed: int) -> Cut:
  """The split of a release, the same for every method. `seed` draws people and rows."""
  rng = np.random.default_rng([seed, 4])
  identity = releases.columns(data.release, "forget")["identity_id"]
  people = rng.permutation(np.unique(identity))
  tuned = np.isin(identity, people[: round(FORGET_SHARE * len(people))])
  records = {"forget": Rows(data.records["forget"], np.flatnonzero(tuned))}
  kept = []
  for split in data.splits("retain"):
    order = rng.permutation(len(data.records[split]))
    cut = round(RETAIN_SHARE * len(order))
    records[split] = Rows(data.records[split], np.sort(order[:cut]))
    kept.append(Rows(data.records[split], np.sort(order[cut:])))
  spared = Rows(data.records["forget"], np.flatnonzero(~tuned))
  return Cut(
    records,
    _pairs(job, data, [records["forget"]]),
    _pairs(job, data, [spared]),
    _pairs(job, data, kept),
  )


def _pairs(job, data, sources):
  size = job.model.sizes.image_size
  images, texts = [], []
  for rows in sources:
    parts = pipeline.evaluation_images(rows, image_size=size, batch_size=256)
    images += [pixels[valid] for pixels, valid in parts]
    texts += [releases.text_of(row["text"]) for row in (rows[i] for i in range(len(rows)))]
  return Pairs(np.concatenate(images), data.tokenizer(texts), texts)


def measure(embed: Callable, cut: Cut) -> dict[str, float]:
  """The scores of a model on the validation split.

  Args:
    embed: embed({"image": (B, S, S, 3), "text": (B, L)}) -> Embeddings.
    cut: from `make`.

  Returns:
    {"leak": MRR of each forget image's own caption among forget and retain captions; "kept": MRR of
    each retain image's caption among the retain captions; "forget", "spared", "retain": mean
    cosines}.
  """
  parts = {name: _embedded(embed, getattr(cut, name)) for name in ("forget", "spared", "retain")}
  scores = {name: float(np.mean(np.sum(u * v, axis=1))) for name, (u, v) in parts.items()}
  gallery = [(name, i) for name in ("forget", "retain") for i in _distinct(cut, name)[:_GALLERY]]
  scores["leak"] = _mrr(cut, parts, "forget", gallery)
  scores["kept"] = _mrr(cut, parts, "retain", [("retain", i) for i in _distinct(cut, "retain")])
  return scores


def _embedded(embed, pairs, size=256):
  """Embeddings (N, D) of pictures and of captions; the last batch is padded to full size."""
  images, texts = [], []
  for at in range(0, len(pairs.image), size):
    image, tokens = pairs.image[at : at + size], pairs.tokens[at : at + size]
    batch = {"image": pipeline.filled(image, size), "text": pipeline.filled(tokens, size)}
    z = jax.device_get(embed(batch))
    images.append(z.image[: len(image)])
    texts.append(z.text[: len(image)])
  return np.concatenate(images), np.concatenate(texts)


def _distinct(cut, name):
  """The first row of every distinct text, in an order drawn from a fixed seed."""
  texts = np.array(getattr(cut, name).text)
  _, first = np.unique(texts, return_index=True)
  return np.random.default_rng(0).permutation(first)


def _mrr(cut, parts, name, gallery):
  """MRR of each image's own caption in a gallery of (part, row)."""
  image, own = parts[name]
  texts = getattr(cut, name).text
  gallery_texts = [getattr(cut, part).text[row] for part, row in gallery]
  rows = np.stack([parts[part][1][row] for part, row in gallery])
  number = {text: i for i, text in enumerate(dict.fromkeys([*texts, *gallery_texts]))}
  own_ids = np.array([number[text] for text in texts])
  gallery_ids = np.array([number[text] for text in gallery_texts])
  ranks = metrics.retrieval_ranks(image, own, own_ids, rows, gallery_ids)
  return metrics.mean_reciprocal_rank(ranks)


def shares(scores: dict[str, float], start: dict[str, float]) -> tuple[float, float]:
  """(leakage removed, retain kept) of a trial; needs neither Clean nor a holdout.

  Leakage removed is 1 - leak / leak at the start, counted up to TARGET. Retain kept is kept / kept
  at the start. A model that has become NaN ranks last everywhere.

  Args:
    scores: of the trial, from `measure`.
    start: of the starting model, from `measure`.
  """
  return min(1 - scores["leak"] / start["leak"], TARGET), scores["kept"] / start["kept"]


def preference(scores: dict[str, float], start: dict[str, float]) -> tuple:
  """The sort key of a trial; the best trial has the largest key.

  Forgetting comes first. Among trials that keep FLOOR of retain, the one that removes most leakage
  is best; among those that remove TARGET, the one that keeps most of retain. If no trial keeps
  FLOOR, the one that keeps most is best.

  Args:
    scores, start: see `shares`.
  """
  removed, kept = shares(scores, start)
  return (True, removed, kept) if kept >= FLOOR else (False, kept, removed)
