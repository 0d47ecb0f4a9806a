"""What an argument may be, said where the argument stands: as an annotation of its function.

  def make(optimizer, *, forget: Weight = 1.0, layers: Count = 1): ...

`check` reads these annotations. An argument without one may be anything.
"""

import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

from salmu_jax.errors import InputError


class Range(NamedTuple):
  """A finite number from `low` to `high`; `low` itself is out of range where `above` is true."""

  low: float
  high: float = math.inf
  above: bool = False


class AtLeast(NamedTuple):
  """A whole number of at least `least`."""

  least: int


class OneOf(NamedTuple):
  """One of a few values."""

  values: tuple[str, ...]


Weight = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(0, 1, above=True)]
Factor = Annotated[float, Range(1)]
Margin = Annotated[float, Range(-2, 2)]  # between two cosines
Count = Annotated[int, AtLeast(1)]


def check(function: Callable, args: Mapping[str, Any]) -> None:
  """Raises InputError for the first of {name: value} that the function's annotations rule out."""
  parameters = inspect.signature(function, eval_str=True).parameters
  for name, value in args.items():
    annotation = parameters[name].annotation if name in parameters else None
    for limit in getattr(annotation, "__metadata__", ()):
      words = _CHECKS[type(limit)](limit, value) if type(limit) in _CHECKS else None
      if words:
        raise InputError(f"{name} = {value!r}; it must be {words}.")


def _outside(limit, value):
  """What a number must be, where it is not."""
  number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if number and math.isfinite(value) and limit.low <= value <= limit.high:
    if value > limit.low or not limit.above:
      return None
  least = f"above {limit.low:g}" if limit.above else f"of at least {limit.low:g}"
  most = "" if limit.high == math.inf else f" and at most {limit.high:g}"
  return f"a finite number {least}{most}"


def _too_few(limit, value):
  """What a count must be, where it is not."""
  if isinstance(value, int) and not isinstance(value, bool) and value >= limit.least:
    return None
  return f"a whole number of at least {limit.least}"


def _unlisted(limit, value):
  """What a choice must be, where it is not."""
  return None if value in limit.values else f"one of {', '.join(limit.values)}"


_CHECKS = {Range: _outside, AtLeast: _too_few, OneOf: _unlisted}
