"""Where a model leaks and what it lost: metrics by private field, caption style and person."""

from collections.abc import Mapping, Sequence

import numpy as np

from salmu_jax.results.lookup import rows_at
from salmu_jax.results.metrics_table import METRICS, Metric
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
    results: of one model, with the rows of its metrics; an older file lacks newer metrics.
    labels: {split: {kind: [label of each row]}}.

  Returns:
    {split: {kind: {label: {"rows": int, name in `parts`: number}}}}. A metric measured on only some
    rows also has their number, under `count_of`, and is left out for a label without such rows.
  """
  groups = {}
  for split, metrics in parts().items():
    rows = {part: rows_at(results, metric.rows) for part, metric in metrics.items()}
    there = {
      part: (values, rows_at(results, metrics[part].cases) if metrics[part].cases else None)
      for part, values in rows.items()
      if values is not None
    }
    if there:
      by_kind = labels[split].items()
      groups[split] = {kind: _by_label(names, there, metrics) for kind, names in by_kind}
  return groups


def count_of(part: str) -> str:
  """The key for the number of rows of a part that is not measured on all rows."""
  return f"{part}_rows"


def _by_label(
  names: Sequence[str],
  rows: Mapping[str, tuple[Sequence[float], Sequence[int] | None]],
  metrics: Mapping[str, Metric],
) -> dict[str, dict[str, float]]:
  """{label: its number of rows and its metrics}, from {part: (values, row of each value)}."""
  labels, group = np.unique(names, return_inverse=True)
  groups = {
    label: {"rows": int(np.sum(group == number))} for number, label in enumerate(labels.tolist())
  }
  for part, (values, cases) in rows.items():
    group_of = group if cases is None else group[np.asarray(cases, int)]
    for number, label in enumerate(labels.tolist()):
      chosen = np.asarray(values)[group_of == number]
      if chosen.size:
        groups[label][part] = reduce(metrics[part].reduction, chosen)
        groups[label] |= {} if cases is None else {count_of(part): len(chosen)}
  return groups
