"""Groups of rows: by person for bootstrap CIs, by field or style for breakdowns."""

from collections.abc import Mapping, Sequence

import numpy as np

from salmu_jax.data import releases
from salmu_jax.data.zero_shot import ZeroShotSet
from salmu_jax.results import breakdown
from salmu_jax.results.splits import SPLITS, ZERO_SHOT

Tables = Mapping[str, Mapping[str, np.ndarray]]


def bootstrap_groups(
  tables: Tables, masks: Mapping[str, tuple[str, np.ndarray]], zero_shot: ZeroShotSet | None
) -> dict[str, list[str]]:
  """The group of each row; a bootstrap resamples the rows of a group together.

  Args:
    tables: split -> `releases.columns`. masks: from `data.derived.masks`.
    zero_shot: the set for general knowledge, or None.

  Returns:
    {split with a pool: [for each row the id of its person, or its file name if the person is
    unknown]}; under "zero_shot" the class of each picture.
  """
  groups = {}
  for name, split in SPLITS.items():
    source, rows = masks.get(name, (name, slice(None)))
    if split.pool and source in tables:
      identities, file_names = (tables[source][key][rows] for key in ("identity_id", "file_name"))
      pairs = zip(identities, file_names, strict=True)
      groups[name] = [str(identity or file_name) for identity, file_name in pairs]
  if zero_shot:
    groups[ZERO_SHOT] = [str(zero_shot.classes[label]) for label in zero_shot.labels]
  return groups


def breakdown_labels(
  release: releases.Release, tables: Tables
) -> dict[str, dict[str, Sequence[str]]]:
  """The labels by which the rows of splits are broken down.

  Args:
    release: an opened release. tables: split -> `releases.columns`.

  Returns:
    {split: {kind of `breakdown.KINDS`: [label of each row]}}. A kind that the release's metadata
    lacks for any row is left out: the published release may have no styles.
  """
  labels = {}
  for split in breakdown.parts():
    captions = [release.captions[name] for name in tables[split]["file_name"]]
    kinds = {
      "field": [caption.get("data_field") for caption in captions],
      "style": [caption.get("style") for caption in captions],
      "identity": list(tables[split]["identity_id"]),
    }
    labels[split] = {kind: names for kind, names in kinds.items() if all(names)}
  return labels
