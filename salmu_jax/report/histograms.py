"""Histograms of the similarities of each split, with the same bins for plots and page."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from salmu_jax.results.lookup import rows_at
from salmu_jax.results.metrics_table import Metric, plotted


def title(metric: Metric) -> tuple[str, str]:
  """The split whose similarities are drawn, and the direction they should take."""
  return metric.split, "should fall to Clean" if metric.bound == "clean" else "should stay"


def row_scores(result: Mapping, metric: Metric) -> np.ndarray:
  """(N,) the similarities of one split, without missing ones."""
  similarities = np.asarray(rows_at(result, metric.rows) or (), np.float64)
  return similarities[np.isfinite(similarities)]


def counts(result: Mapping, metric: Metric, bins: np.ndarray) -> np.ndarray:
  """The number of a split's similarities in each bin."""
  return np.histogram(row_scores(result, metric), bins)[0]


def edges(results: Sequence[Mapping]) -> np.ndarray:
  """Bin edges for all panels; the smallest split sets the bin width."""
  everything = [row_scores(r, metric) for r in results for metric in plotted().values()]
  filled = [similarities for similarities in everything if similarities.size]
  if not filled:
    return np.linspace(-1, 1, 21)
  low, high = min(map(np.min, filled)), max(map(np.max, filled))
  smallest = min(filled, key=len)
  # Freedman and Diaconis' width, 2 IQR / cube root of n.
  width = 2 * float(np.subtract(*np.quantile(smallest, [0.75, 0.25]))) / smallest.size ** (1 / 3)
  bins = math.ceil((high - low) / width) if width > 0 else 20
  return np.linspace(low, max(high, low + 1e-6), min(max(bins, 20), 100) + 1)
