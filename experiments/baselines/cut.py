"""The validation cut: what tuning sees. It is made of forget and retain rows; no holdout is opened.

Forget is cut by person: methods are tuned on three quarters of the forget people, whose pairs they
are to forget, and the rest stand by as people whom nobody asked to forget. Of retain, a tenth of
the rows is kept from training, to see what is left of everything else.
"""

from typing import NamedTuple

import jax
import numpy as np

from salmu_jax.data import pipeline, releases
from salmu_jax.data.records import Rows
from salmu_jax.evaluate import metrics

FORGET_SHARE, RETAIN_SHARE = 0.75, 0.9
TARGET, FLOOR = 0.99, 0.5  # of leakage to remove, of retain to keep
_GALLERY = 1000


class Pairs(NamedTuple):
  """Pictures (N, S, S, 3), tokens (N, L) and texts of some rows."""

  image: np.ndarray
  tokens: np.ndarray
  text: list


class Cut(NamedTuple):
  """records: split -> rows that tuning trains on. forget: those pairs again, to see whether they
  leak.

  spared: pairs of the other people in forget. retain: pairs kept from training.
  """

  records: dict
  forget: Pairs
  spared: Pairs
  retain: Pairs


def make(job, data, seed):
  """The cut of a release; the same for every method. `seed` draws people and rows."""
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
    texts += [row["text"].decode() for row in (rows[i] for i in range(len(rows)))]
  return Pairs(np.concatenate(images), data.tokenizer(texts), texts)


def measure(embed, cut):
  """What a model does on the cut.

  Args:
    embed: embed({"image": (B, S, S, 3), "text": (B, L)}) -> Embeddings.

  Returns:
    {"leak": MRR of each forget image's own caption among forget and retain captions; "kept": MRR of
    each retain image's caption among the retain captions; "forget", "spared", "retain": mean
    cosines}.
  """
  parts = {name: _embedded(embed, getattr(cut, name)) for name in ("forget", "spared", "retain")}
  leak_gallery = [_distinct(cut, name)[:_GALLERY] for name in ("forget", "retain")]
  out = {name: float(np.mean(np.sum(u * v, axis=1))) for name, (u, v) in parts.items()}
  chosen = [("forget", i) for i in leak_gallery[0]] + [("retain", i) for i in leak_gallery[1]]
  out["leak"] = _mrr(cut, parts, "forget", chosen)
  out["kept"] = _mrr(cut, parts, "retain", [("retain", i) for i in _distinct(cut, "retain")])
  return out


def _embedded(embed, pairs, size=256):
  """(N, D) of pictures and of captions; the last batch is filled up, so that all have one shape."""
  images, texts = [], []
  for at in range(0, len(pairs.image), size):
    image, tokens = pairs.image[at : at + size], pairs.tokens[at : at + size]
    whole = {"image": pipeline.filled(image, size), "text": pipeline.filled(tokens, size)}
    z = jax.device_get(embed(whole))
    images.append(z.image[: len(image)])
    texts.append(z.text[: len(image)])
  return np.concatenate(images), np.concatenate(texts)


def _distinct(cut, name):
  """Rows of the first of each text, in an order that is drawn once and for all."""
  texts = np.array(getattr(cut, name).text)
  _, first = np.unique(texts, return_index=True)
  return np.random.default_rng(0).permutation(first)


def _mrr(cut, parts, name, gallery):
  image, own = parts[name]
  texts = getattr(cut, name).text
  gallery_texts = [getattr(cut, part).text[row] for part, row in gallery]
  rows = np.stack([parts[part][1][row] for part, row in gallery])
  number = {text: i for i, text in enumerate(dict.fromkeys([*texts, *gallery_texts]))}
  own_id, gallery_id = ([number[t] for t in each] for each in (texts, gallery_texts))
  ranks = metrics.retrieval_ranks(image, own, np.array(own_id), rows, np.array(gallery_id))
  return metrics.mean_reciprocal_rank(ranks)


def shares(values, start):
  """(leakage removed, retain kept) of a trial; neither Clean nor a holdout is asked.

  Leakage removed is 1 - leak / leak at the start, counted up to TARGET; retain kept is kept / kept
  at the start. A model of NaN has ranks like any other: last ones.
  """
  return min(1 - values["leak"] / start["leak"], TARGET), values["kept"] / start["kept"]


def preference(values, start):
  """What the best trial has the most of, as a tuple to compare: forgetting first.

  Of the trials that keep FLOOR of retain, the one that removes most leakage, and of those that
  remove TARGET the one that keeps most of retain. If none keeps FLOOR, the one that keeps most.
  """
  removed, kept = shares(values, start)
  return (True, removed, kept) if kept >= FLOOR else (False, kept, removed)
