"""Bootstrap CIs, resampled by person: a person is drawn with all of their rows.

People are the same for every model, so differences are paired (Field and Welsh, J. R. Statist. Soc.
B 69, 2007). Portraits of the fragile set that show no known person are resampled one by one, and
GenKnow's images by class.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from salmu_jax.results.lookup import rows_at
from salmu_jax.results.metrics_table import ADDITIONAL, METRICS, Metric
from salmu_jax.results.reductions import REDUCTIONS
from salmu_jax.results.splits import PEOPLE, SPLITS

REPLICATES = 2000
FEWEST = 5  # groups that a bootstrap needs
LEVEL = 0.95
ENDS = [50 * (1 - LEVEL), 100 - 50 * (1 - LEVEL)]  # percentiles of an interval

Draws = np.ndarray | None  # (REPLICATES,) replicates of a number; None without rows


def replicates(results: Sequence[Mapping], seed: int = 0) -> dict[str, dict[str, Draws]]:
  """{model: {key of METRICS: its replicates}}; all models share the same draws of people."""
  pools = _pools(results)
  weights = {
    name: draw(len(pool), np.random.default_rng([seed, number]))
    for number, (name, pool) in enumerate(pools.items())
  }
  number_of = {name: {group: at for at, group in enumerate(pool)} for name, pool in pools.items()}
  drawn: dict[str, dict[str, Draws]] = {}
  for result in results:
    values: dict[str, Draws] = {}
    for key, metric in METRICS.items():
      rows, pool = cases(result, metric), SPLITS[metric.split].pool
      values[key] = rows and means(*rows, number_of[pool], weights[pool])
    drawn[result["salmu_jax"]["model"]] = values
  return drawn


def cases(result: Mapping, metric: Metric) -> tuple[np.ndarray, list[str]] | None:
  """The value of each row of a metric, and the group of each row.

  Returns:
    ((N,), [N labels]); None if the file lacks them, a row is not finite, or there are fewer than
    FEWEST groups.
  """
  groups = rows_at(result, (*ADDITIONAL, "rows", "groups"))
  rows = rows_at(result, metric.rows)
  if not groups or metric.split not in groups or rows is None:
    return None
  labels = groups[metric.split]
  if metric.cases:
    labels = [labels[row] for row in rows_at(result, metric.cases) or ()]
  values = np.asarray(REDUCTIONS[metric.reduction].row_values(np.array(rows, float)), float)
  whole = np.isfinite(values).all() and len(values) == len(labels) and len(set(labels)) >= FEWEST
  return (values, labels) if whole else None


def _pools(results: Sequence[Mapping]) -> dict[str, list[str]]:
  """{pool: the groups that are resampled}, from all files with rows; people first."""
  others = sorted({split.pool for split in SPLITS.values()} - {"", PEOPLE})
  pools: dict[str, dict[str, None]] = {name: {} for name in (PEOPLE, *others)}
  for result in results:
    groups = rows_at(result, (*ADDITIONAL, "rows", "groups")) or {}
    for split, labels in groups.items():
      if split in SPLITS and SPLITS[split].pool:
        pools[SPLITS[split].pool].update(dict.fromkeys(labels))
  return {name: sorted(pool) for name, pool in pools.items()}


def draw(count: int, rng: np.random.Generator) -> np.ndarray:
  """(REPLICATES, count) how often each group is drawn, in `count` draws with replacement."""
  if not count:
    return np.zeros((REPLICATES, 0))
  return rng.multinomial(count, np.full(count, 1 / count), REPLICATES).astype(float)


def means(
  values: np.ndarray, labels: Sequence[str], number_of: Mapping[str, int], weights: np.ndarray
) -> np.ndarray:
  """(REPLICATES,) means over the rows of the drawn groups.

  Args:
    values: (N,) of the rows. labels: [N] the group of each row. number_of: {group: its column}.
    weights: (REPLICATES, G) how often each group is drawn.
  """
  group = np.array([number_of[label] for label in labels])
  total = np.bincount(group, values, len(number_of))
  rows = np.bincount(group, minlength=len(number_of))
  with np.errstate(invalid="ignore"):
    return (weights @ total) / (weights @ rows)  # NaN if no group with rows is drawn


def of_rows(values: np.ndarray, labels: Sequence[str], seed: int = 0) -> list[float] | None:
  """The bootstrap CI [low, high] of a mean over rows, resampled by group.

  Args:
    values: (N,) of the rows. labels: [N] the group of each row.

  Returns:
    None if there are fewer than FEWEST groups.
  """
  distinct = sorted(set(labels))
  if len(distinct) < FEWEST:
    return None
  number_of = {label: at for at, label in enumerate(distinct)}
  weights = draw(len(distinct), np.random.default_rng(seed))
  return interval(means(np.asarray(values, float), labels, number_of, weights))


def interval(draws: Draws) -> list[float] | None:
  """The CI [low, high] of one number; None without replicates, or if too many are NaN."""
  if draws is None or np.mean(np.isfinite(draws)) < LEVEL:
    return None
  return [float(x) for x in np.nanpercentile(draws, ENDS)]


def ends(draws: Draws) -> list[float] | tuple[None, None]:
  """The CI (low, high) of one number; (None, None) if there is none."""
  return interval(draws) or (None, None)


def simultaneous(table: np.ndarray) -> np.ndarray:
  """Half widths of intervals that cover all differences at once with probability LEVEL.

  Args:
    table: (M, R) replicates.

  Returns:
    (M, M), for the M (M - 1) / 2 pairwise differences (single-step max-t).
  """
  count = len(table)
  se, largest = np.zeros((count, count)), np.zeros(REPLICATES)
  for i in range(count):
    difference = table[i] - table  # (M, R)
    centre = np.nanmean(difference, axis=1)
    se[i] = np.nanstd(difference, axis=1)
    spread = np.abs(difference - centre[:, None])[se[i] > 0] / se[i][se[i] > 0][:, None]
    largest = np.maximum(largest, np.nan_to_num(spread).max(axis=0, initial=0))
  return np.percentile(largest, 100 * LEVEL) * se
