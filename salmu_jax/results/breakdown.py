"""Where a model leaks and what it lost: metrics by private field, caption style and person."""

from collections.abc import Mapping, Sequence

import numpy as np

from salmu_jax.results.metrics_table import METRICS, Metric, rows_at
from salmu_jax.results.reductions import reduce

# What rows are grouped by -> what one group has in common.
KINDS = {"field": "private field", "style": "caption style", "identity": "person"}


def parts() -> dict[str, dict[str, Metric]]:
  """The metrics that are broken down: {split: {name in the breakdown: Metric}}."""
  by_split: dict[str, dict[str, Metric]] = {}
  for metric in METRICS.values():
    if metric.part:
      by_split.setdefault(metric.split, {})[metric.part] = metric
  # Similarities first, as results files have them.
  return {
    split: dict(sorted(named.items(), key=lambda item: item[1].kind))
    for split, named in by_split.items()
  }


def measure(
  results: Mapping, labels: Mapping[str, Mapping[str, Sequence[str]]]
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
  """The metrics of every group.

  Args:
    results: of one model, with the rows of its metrics; an older file lacks those of younger ones.
    labels: {split: {kind: [label of each row]}}.

  Returns:
    {split: {kind: {label: {"rows": int, name in `parts`: number}}}}.
  """
  groups = {}
  for split, metrics in parts().items():
    rows = {part: rows_at(results, metric.rows) for part, metric in metrics.items()}
    there = {part: values for part, values in rows.items() if values is not None}
    if there:
      by_kind = labels[split].items()
      groups[split] = {kind: _by_label(names, there, metrics) for kind, names in by_kind}
  return groups


def _by_label(
  names: Sequence[str], rows: Mapping[str, Sequence[float]], metrics: Mapping[str, Metric]
) -> dict[str, dict[str, float]]:
  """{label: the number of its rows, and the metrics of these}."""
  labels, group = np.unique(names, return_inverse=True)
  columns = {part: np.asarray(values) for part, values in rows.items()}
  groups = {}
  for number, label in enumerate(labels.tolist()):
    chosen = group == number
    groups[label] = {"rows": int(chosen.sum())} | {
      part: reduce(metrics[part].reduction, values[chosen]) for part, values in columns.items()
    }
  return groups
