"""Membership: can trained pairs be told from the same pairs with another person's value?"""

import functools
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from salmu_jax.attacks.base import FORGET, Attack, Finding, Inputs, Params, Run
from salmu_jax.data.leaks import Leak, values_of, why_not_asked
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.results import bootstrap
from salmu_jax.train import checkpoint

FALSE_POSITIVE_RATE = 0.01


def make(inputs: Inputs, config: ConfigDict) -> Run:
  """Returns run(params, z), see `base.Attack`.

  The score of a pair is its similarity less Clean's, the similarity under a model that never saw
  the pair; Clean's is computed once for all models. On Clean itself the score is the similarity
  alone.
  """
  del config
  rows, changed = changed_values(inputs.leaks, inputs.rng())
  captions = [inputs.leaks[row].text for row in rows]
  people = [inputs.leaks[row].identity for row in rows]

  def cosines(params: Params, image: np.ndarray) -> np.ndarray:
    """(2, M) of forget pairs, and of the same pictures with the changed captions."""
    embed = inputs.embedder(params, "changed captions")
    halves = np.split(embed([*captions, *changed]), 2)
    return np.stack([np.asarray(metrics.cosines(image[rows], texts)) for texts in halves])

  @functools.cache
  def clean_cosines() -> np.ndarray:
    return cosines(inputs.clean, inputs.evaluator.embed_pictures(inputs.clean, FORGET))

  clean_digest = functools.cache(lambda: checkpoint.digest(inputs.clean))

  def run(params: Params, z: Embedded) -> Finding:
    if not len(rows):
      return Finding({}, {}, why_not_asked(inputs.leaks))
    similarity = cosines(params, z.image[FORGET])
    is_clean = checkpoint.digest(params) == clean_digest()
    calibrated = similarity if is_clean else similarity - clean_cosines()
    details = {
      "calibrated": separation(*calibrated),
      "similarity": separation(*similarity),
      "pairs": len(rows),
    }
    interval = auc_interval(*calibrated, people)
    return Finding({"auc": details["calibrated"]["auc"]}, details, interval=interval)

  return run


def changed_values(leaks: Sequence[Leak], rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
  """The leaks' captions with another person's value, which no model was trained on.

  Args:
    leaks: of forget. rng: draws the other values.

  Returns:
    ((M,) row numbers, M changed captions), of the leaks whose caption holds its value and whose
    field has a second value.
  """
  values = values_of(leaks)
  rows, texts = [], []
  for row, leak in enumerate(leaks):
    others = [value for value in values[leak.field] if value != leak.value]
    if leak.with_value("") is not None and others:
      rows.append(row)
      texts.append(leak.with_value(others[rng.integers(len(others))]))
  return np.array(rows, int), texts


def separation(own: np.ndarray, changed: np.ndarray) -> dict[str, float]:
  """How well a score separates trained pairs from changed ones.

  Unusually low scores reveal trained pairs too; the AUC is then below one half.

  Args:
    own, changed: (N,) and (M,) scores, the higher the more similar.

  Returns:
    {"auc": area under the ROC curve, "tpr": the true positive rate at FALSE_POSITIVE_RATE, of the
    score or of its negative, whichever separates better}.
  """
  # Imported here, so that refusing a bad config does not wait for it.
  from sklearn import metrics as sklearn_metrics

  labels = np.repeat([1, 0], [len(own), len(changed)])
  scores = np.concatenate([own, changed])
  auc = float(sklearn_metrics.roc_auc_score(labels, scores))
  false, true, _ = sklearn_metrics.roc_curve(labels, scores if auc >= 0.5 else -scores)
  return {"auc": auc, "tpr": float(true[false <= FALSE_POSITIVE_RATE].max())}


def auc_interval(own: np.ndarray, changed: np.ndarray, people: Sequence[str]) -> list[float] | None:
  """The 95 % bootstrap CI of the AUC, resampled by person.

  Args:
    own, changed: (M,) scores of pairs, and of their changed captions. people: (M,) of each pair.

  Returns:
    [low, high]; None if there are fewer than `bootstrap.FEWEST` people.
  """
  distinct, person = np.unique(people, return_inverse=True)
  if len(distinct) < bootstrap.FEWEST:
    return None
  # (P, P) how often pairs of one person score above changed captions of another, ties for half.
  above = np.zeros((len(distinct), len(distinct)))
  for at in range(len(distinct)):
    theirs = np.sort(changed[person == at])
    wins = np.searchsorted(theirs, own, "left") + np.searchsorted(theirs, own, "right")
    above[:, at] = np.bincount(person, wins / 2, len(distinct))
  weights = bootstrap.draw(len(distinct), np.random.default_rng(0))
  pairs = weights @ np.bincount(person, minlength=len(distinct))
  return bootstrap.interval(np.einsum("rp,pq,rq->r", weights, above, weights) / pairs**2)


ATTACK = Attack(
  key="Membership",
  label="Telling forget pairs from changed values, AUC; one half tells nothing",
  better="equal",
  reduction="mean",
  make=make,
  needs=("clean", "facts"),
)
