"""Membership: can pairs that were trained on be told from the same with another person's value?"""

import functools
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from salmu_jax.attacks.base import FORGET, Attack, Finding, Inputs, Params, Run
from salmu_jax.data.leaks import Leak
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.embeddings import Embedded

FALSE_POSITIVE_RATE = 0.01


def make(inputs: Inputs, config: ConfigDict) -> Run:
  """Returns run(params, z), see `base.Attack`.

  Pairs are told apart by their similarity, and by their similarity less Clean's, which says how
  similar a pair is to a model that never saw it. Clean's is computed once for all models.
  """
  del config
  rows, changed = changed_values(inputs.leaks, inputs.rng())
  captions = [inputs.leaks[row].text for row in rows]

  def cosines(params: Params, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M,) of forget pairs, and (M,) of the same pictures with the changed captions."""
    embed = inputs.embedder(params, "changed captions")
    own, other = np.split(embed([*captions, *changed]), 2)
    return tuple(np.asarray(metrics.cosines(image[rows], texts)) for texts in (own, other))

  @functools.cache
  def clean_cosines() -> tuple[np.ndarray, np.ndarray]:
    return cosines(inputs.clean, inputs.evaluator.embed_pictures(inputs.clean, FORGET))

  def run(params: Params, z: Embedded) -> Finding:
    if not len(rows):
      return Finding({}, {}, "no forget caption holds its value")
    own, other = cosines(params, z.image[FORGET])
    clean_own, clean_other = clean_cosines()
    similarity = separation(own, other)
    calibrated = separation(own - clean_own, other - clean_other)
    details = {"calibrated": calibrated, "similarity": similarity, "pairs": len(own)}
    return Finding({"calibrated": calibrated["auc"]}, details)

  return run


def changed_values(leaks: Sequence[Leak], rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
  """Captions like those of the leaks that no model was trained on: with another person's value.

  Args:
    leaks: of forget. rng: draws the other values.

  Returns:
    ((M,) row numbers, M changed captions), of the leaks whose caption holds its value and whose
    field has a second value.
  """
  values = {}
  for leak in leaks:
    values.setdefault(leak.field, set()).add(leak.value)
  rows, texts = [], []
  for row, leak in enumerate(leaks):
    others = sorted(values[leak.field] - {leak.value})
    if leak.value in leak.text and others:
      rows.append(row)
      texts.append(leak.text.replace(leak.value, others[rng.integers(len(others))]))
  return np.array(rows, int), texts


def separation(own: np.ndarray, changed: np.ndarray) -> dict[str, float | bool]:
  """How well a score tells pairs that were trained on from changed ones.

  A score that is too low reveals a pair as well, so the score or its opposite counts, whichever
  tells more.

  Args:
    own, changed: (N,) and (M,) scores, the higher the more similar.

  Returns:
    {"auc": area under the ROC curve, "tpr": the true positive rate at FALSE_POSITIVE_RATE,
    "turned": whether it is the opposite of the score that counts}.
  """
  # Imported here, so that a start that is refused does not wait for it.
  from sklearn import metrics as sklearn_metrics

  labels = np.repeat([1, 0], [len(own), len(changed)])
  scores = np.concatenate([own, changed])
  auc = float(sklearn_metrics.roc_auc_score(labels, scores))
  turned = auc < 0.5
  false, true, _ = sklearn_metrics.roc_curve(labels, -scores if turned else scores)
  return {
    "auc": max(auc, 1 - auc),
    "tpr": float(true[false <= FALSE_POSITIVE_RATE].max()),
    "turned": bool(turned),
  }


ATTACK = Attack(
  key="Membership",
  label="Telling forget pairs from changed ones, AUC",
  reduction="mean",
  make=make,
)
