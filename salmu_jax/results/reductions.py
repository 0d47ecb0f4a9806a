"""Reduces rows to one number: each row is mapped to a value, and the values are averaged."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from salmu_jax.errors import InputError


class Reduction(NamedTuple):
  """A number that is the mean over rows of a value of each row.

  Attributes:
    row_values: row_values(rows (N,)) -> (N,), the value of each row.
    words: how the number follows from its rows; {} stands for their name.
  """

  row_values: Callable[[np.ndarray], np.ndarray]
  words: str


REDUCTIONS = {
  "mean": Reduction(lambda rows: rows, "the mean of {}, in float64"),
  "R@1": Reduction(lambda ranks: ranks < 1, "the share of {} that are 0"),
  "MRR": Reduction(lambda ranks: 1.0 / (ranks + 1.0), "the mean of 1 / (1 + rank) over {}"),
}


def reduce(reduction: str, rows: Sequence[float] | np.ndarray) -> float:
  """The number that rows reduce to.

  Args:
    reduction: a key of REDUCTIONS. rows: (N,) numbers; ranks count from 0.

  Raises:
    InputError: there are no rows.
  """
  rows = np.asarray(rows)
  if not rows.size:
    raise InputError(f"{reduction}: found no rows to average; at least one is needed.")
  return float(np.mean(REDUCTIONS[reduction].row_values(rows), dtype=np.float64))
