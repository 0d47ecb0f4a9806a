"""Attacks on embeddings alone: which pairs were trained on, and what a linear probe reads."""

import numpy as np
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LOW_RATE = 0.01  # of false alarms
# People a value has on average, so that a probe learns values of some and reads them off others.
_SHARED = 2


def changed_values(leaks, rng):
  """Captions like those of the leaks that nobody was trained on: the value is another person's.

  Args:
    leaks: see `asking.leaks`. rng: numpy Generator.

  Returns:
    ((M,) rows, [M captions]): of the leaks whose caption holds its value, where the field has
    another.
  """
  values = {}
  for leak in leaks:
    values.setdefault(leak["field"], set()).add(leak["value"])
  rows, texts = [], []
  for row, leak in enumerate(leaks):
    others = sorted(values[leak["field"]] - {leak["value"]})
    if leak["value"] in leak["text"] and others:
      rows.append(row)
      texts.append(leak["text"].replace(leak["value"], others[rng.integers(len(others))]))
  return np.array(rows, int), texts


def membership(own, changed):
  """How well a score tells pairs that were trained on from changed ones.

  Args:
    own, changed: (N,) scores, the higher the more familiar.

  Returns:
    {"auc": of the score or its opposite, whichever tells more: who expects unlearning looks for
    what is too low as well, "tpr": share of true pairs found at LOW_RATE of false alarms, "turned":
    whether it was the opposite}.
  """
  true = np.repeat([1, 0], [len(own), len(changed)])
  score = np.concatenate([own, changed])
  auc = float(sklearn_metrics.roc_auc_score(true, score))
  turned = auc < 0.5
  rate, found, _ = sklearn_metrics.roc_curve(true, -score if turned else score)
  return {
    "auc": max(auc, 1 - auc),
    "tpr": float(found[rate <= LOW_RATE].max()),
    "turned": bool(turned),
  }


def readable_fields(leaks):
  """The fields whose values people share, so that what is learnt of some people can be read off
  others.
  """
  people, values = {}, {}
  for leak in leaks:
    people.setdefault(leak["field"], set()).add(leak["identity"])
    values.setdefault(leak["field"], set()).add(leak["value"])
  return [f for f in sorted(people) if len(people[f]) >= _SHARED * len(values[f])]


def values_read(features, identities, leaks, rng):
  """Accuracy of reading people's values off features, by a linear probe that learnt from other
  people.

  Args:
    features: (N, D). identities: (N,) whose each is. leaks: of forget, see `asking.leaks`.
    rng: numpy Generator that halves the people.

  Returns:
    {field: {"accuracy", "chance": of always saying the commonest value}} of `readable_fields`.
  """
  out = {}
  for field in readable_fields(leaks):
    value_of = {leak["identity"]: leak["value"] for leak in leaks if leak["field"] == field}
    rows = np.flatnonzero(np.isin(identities, list(value_of)))
    label = np.array([value_of[identity] for identity in identities[rows]])
    people = rng.permutation(sorted(value_of))
    first = np.isin(identities[rows], people[: len(people) // 2])
    out[field] = {
      "accuracy": _crossed(features[rows], label, first),
      "chance": float(np.unique(label, return_counts=True)[1].max() / len(label)),
    }
  return out


def identity_read(features, identities):
  """Accuracy of telling people apart by a linear probe that learnt from every second row of
  each.
  """
  order = np.argsort(identities, kind="stable")
  _, start = np.unique(identities[order], return_index=True)
  place = np.empty(len(order), int)
  place[order] = np.arange(len(order)) - np.repeat(start, np.diff([*start, len(order)]))
  return _crossed(features, np.asarray(identities), place % 2 == 0)


def _crossed(features, label, first):
  """Accuracy over all rows, each half read by what was learnt from the other."""
  hits = 0
  for train in (first, ~first):
    if train.all():  # nobody has a second row
      continue
    # With one class there is nothing to learn, and it is the answer.
    classes = np.unique(label[train])
    if len(classes) < 2:
      hits += int(np.isin(label[~train], classes).sum())
      continue
    probe = make_pipeline(StandardScaler(), RidgeClassifier())
    hits += int(
      (probe.fit(features[train], label[train]).predict(features[~train]) == label[~train]).sum()
    )
  return hits / len(label)
