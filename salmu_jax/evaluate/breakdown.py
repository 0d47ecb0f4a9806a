"""Where a model leaks and what it lost: metrics by private field, caption style and person."""

import numpy as np

from salmu_jax.evaluate import metrics

KINDS = ("field", "style", "identity")
# Split -> where its rows' cosines are in a results file.
_COSINES = {
  "forget": ("efficacy", "1.2_AssocStr"),
  "holdout_identity": ("utility", "2.2_InterIdSim"),
  "holdout_association": ("utility", "2.3_IntraIdSim"),
}


def labels(release, tables):
  """What groups the rows of each sensitive split belong to.

  Args:
    release: an opened release. tables: split -> `release.columns`.

  Returns:
    {split: {kind of KINDS: [label of each row]}}. A kind that the release's metadata does not tell
    for every row is left out: the published one may have no styles.
  """
  out = {}
  for split in _COSINES:
    about = [release.captions[name] for name in tables[split]["file_name"]]
    known = {
      "field": [row.get("data_field") for row in about],
      "style": [row.get("style") for row in about],
      "identity": list(tables[split]["identity_id"]),
    }
    out[split] = {kind: each for kind, each in known.items() if all(each)}
  return out


def measure(results, groups):
  """The metrics of every group.

  Args:
    results: of one model, with its scores by row ("efficacy" and "utility").
    groups: from `labels`.

  Returns:
    {split: {kind: {label: {"rows": int, "similarity": mean cosine, "MRR": of RetFail}}}}; MRR on
    forget alone.
  """
  ranks = np.asarray(results["efficacy"]["1.1_RetFail"]["outcomes"])
  out = {}
  for split, (pillar, metric) in _COSINES.items():
    cosines = np.asarray(results[pillar][metric]["scores"])
    out[split] = {
      kind: _by_label(each, cosines, ranks if split == "forget" else None)
      for kind, each in groups[split].items()
    }
  return out


def _by_label(labels_, cosines, ranks):
  names, group = np.unique(labels_, return_inverse=True)
  parts = {}
  for number, name in enumerate(names.tolist()):
    rows = group == number
    parts[name] = {"rows": int(rows.sum()), "similarity": float(np.mean(cosines[rows]))}
    if ranks is not None:
      parts[name]["MRR"] = metrics.mean_reciprocal_rank(ranks[rows])
  return parts
