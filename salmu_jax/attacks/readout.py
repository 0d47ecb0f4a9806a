"""Readout: which private values does a linear probe read off a model's embeddings?"""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from salmu_jax.attacks.base import FORGET, Attack, Finding, Inputs, Params, Run
from salmu_jax.data.leaks import Leak
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.runtime import machine

# The fewest people per value, on average: a probe learns a value from some, reads it off others.
_SHARED = 2


def make(inputs: Inputs, config: ConfigDict) -> Run:
  """Returns run(params, z), see `base.Attack`."""
  del config
  leaks = inputs.leaks
  name_of = {leak.identity: leak.name for leak in leaks}
  identities, people = np.array([leak.identity for leak in leaks]), np.array(sorted(name_of))
  prompts = [inputs.name_prompt.format(name_of[identity]) for identity in people]

  def run(params: Params, z: Embedded) -> Finding:
    del params
    image, captions = z.image[FORGET], z.of([leak.text for leak in leaks])
    values = values_read(image, identities, leaks, inputs.rng())
    details = {
      "value_from_picture": values,
      "value_from_name": values_read(z.of(prompts), people, leaks, inputs.rng()),
      "identity_from_picture": identity_read(image, identities),
      "identity_from_caption": identity_read(captions, identities),
    }
    parts = {field: reading["accuracy"] for field, reading in values.items()}
    return Finding(parts, details, "" if parts else "no field has values that people share")

  return run


def readable_fields(leaks: Sequence[Leak]) -> list[str]:
  """The fields whose values people share, so that what is learnt from some people can be read off
  others.
  """
  people, values = {}, {}
  for leak in leaks:
    people.setdefault(leak.field, set()).add(leak.identity)
    values.setdefault(leak.field, set()).add(leak.value)
  return [field for field in sorted(people) if len(people[field]) >= _SHARED * len(values[field])]


def values_read(
  features: np.ndarray, identities: np.ndarray, leaks: Sequence[Leak], rng: np.random.Generator
) -> dict[str, dict[str, float]]:
  """Accuracy of reading people's values off features, by a linear probe trained on other
  people.

  Args:
    features: (N, D). identities: (N,) the person of each. leaks: of forget.
    rng: halves the people.

  Returns:
    {field: {"accuracy", "chance": of always naming the most frequent value}} of `readable_fields`.
  """
  readings = {}
  for field in readable_fields(leaks):
    value_of = {leak.identity: leak.value for leak in leaks if leak.field == field}
    rows = np.flatnonzero(np.isin(identities, list(value_of)))
    labels = np.array([value_of[identity] for identity in identities[rows]])
    people = rng.permutation(sorted(value_of))
    first = np.isin(identities[rows], people[: len(people) // 2])
    readings[field] = {
      "accuracy": _crossed(features[rows], labels, first),
      "chance": float(np.unique(labels, return_counts=True)[1].max() / len(labels)),
    }
  return readings


def identity_read(features: np.ndarray, identities: np.ndarray) -> float:
  """Accuracy of telling people apart, by a linear probe trained on every second row of each.

  Args:
    features: (N, D). identities: (N,) the person of each.
  """
  order = np.argsort(identities, kind="stable")
  _, start = np.unique(identities[order], return_index=True)
  place = np.empty(len(order), int)
  place[order] = np.arange(len(order)) - np.repeat(start, np.diff([*start, len(order)]))
  return _crossed(features, np.asarray(identities), place % 2 == 0)


def _crossed(features, labels, first):
  """Accuracy over all rows, each half read by a probe trained on the other."""
  # Imported here, so that refusing a bad config does not wait for it.
  from sklearn.linear_model import RidgeClassifier
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler

  hits = 0
  for train in (first, ~first):
    if train.all():  # nobody has a second row
      continue
    # With one class there is nothing to learn; it is the prediction.
    classes = np.unique(labels[train])
    if len(classes) < 2:
      hits += int(np.isin(labels[~train], classes).sum())
      continue
    with machine.one_thread():
      probe = make_pipeline(StandardScaler(), RidgeClassifier()).fit(features[train], labels[train])
      hits += int((probe.predict(features[~train]) == labels[~train]).sum())
  return hits / len(labels)


ATTACK = Attack(
  key="Readout",
  label="Reading private values off pictures, linear probe",
  reduction="mean",
  make=make,
  needs=("facts",),
)
