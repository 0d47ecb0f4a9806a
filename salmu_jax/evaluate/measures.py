"""The rows of every metric; the metrics table says how each is reduced to a number."""

import functools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from salmu_jax.data import releases
from salmu_jax.data.leaks import leaks
from salmu_jax.data.zero_shot import ZeroShotSet
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.evaluate.facts import Answers, Asked
from salmu_jax.results.lookup import put
from salmu_jax.results.metrics_table import FACT_WORDINGS, METRICS
from salmu_jax.results.reductions import reduce

# Whose names IdZSC chooses among: (columns of forget, its mask, all identities) -> ids.
CANDIDATES = {
  "forget_identity": lambda table, mask, identities: set(table["identity_id"][mask]),
  "forget": lambda table, mask, identities: set(table["identity_id"]),
  "all": lambda table, mask, identities: set(identities),
}


class Judged(NamedTuple):
  """A model's embeddings of a release, and everything else that metrics need.

  Attributes:
    z: the embeddings. release: the opened release. tables: split -> `releases.columns`.
    masks: from `data.derived.masks`. zero_shot: the set for general knowledge, or None.
    settings: `config.evaluate`.
    gallery: (G,) the captions that RetFail ranks every picture against.
    generic: the captions of the gallery that were drawn from retain_disjoint.
    rng: the generator that drew the gallery; the probe draws next, as in the released evaluator.
    answers: answers() -> {split: {wording: (Asked, Answers)}}, see `facts`.
  """

  z: Embedded
  release: releases.Release
  tables: Mapping[str, Mapping[str, np.ndarray]]
  masks: Mapping[str, tuple[str, np.ndarray]]
  zero_shot: ZeroShotSet | None
  settings: ConfigDict
  gallery: np.ndarray
  generic: np.ndarray
  rng: np.random.RandomState
  answers: Callable[[], Mapping[str, Mapping[str, tuple[Asked, Answers]]]]

  def rows(self, split: str) -> tuple[str, np.ndarray | slice]:
    """The split of the release that a split's rows are in, and which of its rows they are."""
    return self.masks.get(split, (split, slice(None)))

  def column(self, split: str, name: str) -> np.ndarray:
    """(N,) a column of the release, of the rows of a split."""
    source, rows = self.rows(split)
    return self.tables[source][name][rows]

  def image(self, split: str) -> np.ndarray:
    """(N, D) of the pictures of a split."""
    source, rows = self.rows(split)
    return self.z.image[source][rows]


def measured(judged: Judged) -> dict:
  """Every metric of a model and its rows, under their keys in a results file."""
  results, done = {}, set()
  for metric in METRICS.values():
    if metric.rows not in done:
      done.add(metric.rows)
      rows = MEASURES[metric.measure](judged, metric.split)
      if metric.cases:
        rows, cases = (None, None) if rows is None else rows
        put(results, metric.cases, None if cases is None else cases.tolist())
      # The released layout has a metric's numbers before its rows.
      for other in METRICS.values():
        if other.rows == metric.rows:
          put(results, other.path, None if rows is None else reduce(other.reduction, rows))
      put(results, metric.rows, None if rows is None else _LISTED[metric.kind](rows))
  return results


def numbered(names: Sequence[Hashable]) -> np.ndarray:
  """(N,) int32, equal for equal names."""
  number = {name: at for at, name in enumerate(dict.fromkeys(names))}
  return np.array([number[name] for name in names], np.int32)


def ranks_among(
  image: np.ndarray,
  own: np.ndarray,
  own_names: Sequence[Hashable],
  gallery: np.ndarray,
  gallery_names: Sequence[Hashable],
) -> np.ndarray:
  """(N,) ranks of pictures' own captions among a gallery, 0 for the best.

  Args:
    image: (N, D) of pictures. own: (N, D) of their captions. gallery: (G, D) of captions.
    own_names, gallery_names: of the captions; captions with equal names do not compete.
  """
  own_id, gallery_id = np.split(numbered([*own_names, *gallery_names]), [len(own_names)])
  return np.asarray(metrics.retrieval_ranks(image, own, own_id, gallery, gallery_id))


def retrieval_ranks(judged: Judged, split: str) -> np.ndarray:
  """(N,) ranks of a split's captions among the gallery."""
  captions, gallery, z = judged.column(split, "text"), judged.gallery, judged.z
  return ranks_among(judged.image(split), z.of(captions), captions, z.of(gallery), gallery)


def holdout_ranks(judged: Judged, split: str) -> np.ndarray:
  """(N,) ranks of a split's captions among its own distinct captions and generic ones."""
  captions, z = judged.column(split, "text"), judged.z
  gallery = holdout_gallery(captions, judged.generic)
  return ranks_among(judged.image(split), z.of(captions), captions, z.of(gallery), gallery)


def holdout_gallery(captions: Sequence[str], generic: Sequence[str]) -> list[str]:
  """The gallery of a holdout's captions: each of its texts once, however many rows have it.

  Generic captions come as often as they were drawn, as in RetFail.
  """
  return [*dict.fromkeys(captions), *generic]


def fact_answers(
  judged: Judged, split: str, *, wording: str, answer: str
) -> tuple[np.ndarray, np.ndarray] | None:
  """(F,) a field of `facts.Answers`, and (F,) the row of each question; None without questions."""
  asked, answers = judged.answers()[split][wording]
  return (getattr(answers, answer), asked.rows) if len(asked.rows) else None


def pair_similarity(judged: Judged, split: str) -> np.ndarray:
  """(N,) cosines of the pictures of a split with their captions."""
  source, rows = judged.rows(split)
  captions = judged.z.of(judged.tables[source]["text"])
  # Over all rows of the source, so that all its parts round alike. Rows of other parts may be NaN,
  # which JAX_DEBUG_NANS would report as a fault.
  image = np.zeros_like(judged.z.image[source])
  image[rows] = judged.z.image[source][rows]
  return np.asarray(metrics.cosines(image, captions))[rows]


def core_similarity(judged: Judged, split: str) -> np.ndarray:
  """(N,) cosines of pictures with bare name and value, the better of both orders."""
  orders = core_texts(judged.release, judged.tables[split])
  image = judged.image(split)
  return np.asarray(
    metrics.best_of(*(metrics.cosines(image, judged.z.of(order)) for order in orders))
  )


def core_texts(
  release: releases.Release, table: Mapping[str, np.ndarray]
) -> tuple[list[str], list[str]]:
  """The bare leaks of a sensitive split's rows, in both orders.

  Args:
    table: `releases.columns` of the split.
  """
  leaks_of_rows = leaks(release, table)
  orders = ("{0.name} {0.value}", "{0.value} {0.name}")
  return tuple([order.format(leak) for leak in leaks_of_rows] for order in orders)


def association_probe_hits(judged: Judged, split: str) -> tuple[np.ndarray, np.ndarray]:
  """(T,) whether the probe classifies a tested pair correctly, and (T,) the row of each pair."""
  captions = judged.z.of(judged.column(split, "text"))
  probed, hits = metrics.association_probe_hits(
    judged.image(split), captions, judged.rng, judged.settings.probe
  )
  return hits, probed


def naming_hits(judged: Judged, split: str) -> np.ndarray:
  """(N,) whether the people of a split are named, zero-shot, among the candidates.

  People who share a name are one candidate.
  """
  source, mask = judged.rows(split)
  choose = CANDIDATES[judged.settings.name_candidates]
  candidates = sorted(choose(judged.tables[source], mask, judged.release.identities))
  prompts = naming_prompts(judged.release, candidates, judged.settings.name_prompt)
  names = list(dict.fromkeys(prompts))
  number = {name: at for at, name in enumerate(names)}
  of = {identity: number[prompt] for identity, prompt in zip(candidates, prompts, strict=True)}
  labels = np.array([of[identity] for identity in judged.column(split, "identity_id")], np.int32)
  hits = metrics.zero_shot_hits(judged.image(split), judged.z.of(names), labels)
  return np.asarray(hits)


def naming_prompts(release: releases.Release, identities: Iterable[str], prompt: str) -> list[str]:
  """The texts that name people; `prompt` holds a {} for the name."""
  return [prompt.format(release.identities[identity]["name"]) for identity in identities]


def zero_shot_hits(judged: Judged, split: str) -> np.ndarray | None:
  """(N,) hits of the zero-shot test with the prompt ensemble; None without such a test."""
  if judged.zero_shot is None:
    return None
  labels, classes = judged.zero_shot.labels, judged.zero_shot.classes
  hits = metrics.zero_shot_hits(
    judged.z.image[split], judged.z.class_weights, labels, numbered(classes)
  )
  return np.asarray(hits)


# Name -> rows(judged, split) -> (N,), or None if they cannot be measured; for a metric with
# `cases`, a pair of these and the row of the split for each entry.
MEASURES: dict[str, Callable] = {
  "association_probe_hits": association_probe_hits,
  "core_similarity": core_similarity,
  "holdout_ranks": holdout_ranks,
  "naming_hits": naming_hits,
  "pair_similarity": pair_similarity,
  "retrieval_ranks": retrieval_ranks,
  "zero_shot_hits": zero_shot_hits,
}
MEASURES |= {
  f"fact_{rows}_{wording}": functools.partial(fact_answers, wording=wording, answer=answer)
  for wording in FACT_WORDINGS
  for rows, answer in (("reciprocal_ranks", "reciprocal_rank"), ("pair_scores", "pair"))
}
# Kind of a metric's rows -> rows as JSON has them; of hits null for NaN.
_LISTED = {
  "rank": lambda rows: rows.tolist(),
  "cosine": lambda rows: rows.tolist(),
  "share": lambda rows: rows.tolist(),
  "hit": lambda rows: [None if np.isnan(hit) else int(hit) for hit in rows],
}
