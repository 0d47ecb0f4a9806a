"""From rows to one number: what every row counts, and the mean of that."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from salmu_jax.errors import InputError


class Reduction(NamedTuple):
  """A number that is the mean of what its rows count.

  Attributes:
    counts: counts(rows (N,)) -> (N,), what each row counts.
    words: what the number is of its rows, with {} for their name.
  """

  counts: Callable[[np.ndarray], np.ndarray]
  words: str


REDUCTIONS = {
  "mean": Reduction(lambda rows: rows, "the mean of {}, in float64"),
  "R@1": Reduction(lambda ranks: ranks < 1, "the share of {} that are 0"),
  "MRR": Reduction(lambda ranks: 1.0 / (ranks + 1.0), "the mean of 1 / (1 + rank) over {}"),
}


def reduce(reduction: str, rows: Sequence[float] | np.ndarray) -> float:
  """The number that rows give.

  Args:
    reduction: a key of REDUCTIONS. rows: (N,) numbers; ranks count from 0.

  Raises:
    InputError: there are no rows.
  """
  rows = np.asarray(rows)
  if not rows.size:
    raise InputError(
      "ranks: found no rows; a recall or reciprocal rank needs at least one query."
      if reduction != "mean"
      else "rows: found none; a mean needs at least one."
    )
  return float(np.mean(REDUCTIONS[reduction].counts(rows), dtype=np.float64))
