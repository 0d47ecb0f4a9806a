"""Limits of values. A table gives those of config fields, annotations those of arguments.

  RANGES = {"epochs": Range(0, 10**4, above=True), "names": Each(OneOf(ATTACKS))}

  def make(optimizer, *, forget: Weight = 1.0, layers: Count = 1): ...

`faults` reads the annotations; an argument without one may have any value. `fields.faults` reads
tables.
"""

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np

from salmu_jax import errors

_FLOAT32, _INT32 = 3.4e38, 2**31 - 1  # the largest that arrays hold
_SMALLEST = float(np.finfo(np.float32).tiny)  # the smallest normal number above zero
_LONGEST = 4096  # characters of a string; Linux allows no longer paths


class Range(NamedTuple):
  """A finite number from `low` to `high`; `above` excludes `low`, `below` excludes `high`.

  A number that float32, the dtype of arrays, rounds to an excluded bound is excluded too.
  """

  low: float
  high: float = _FLOAT32
  above: bool = False
  below: bool = False


class Whole(NamedTuple):
  """A whole number from `low` to `high`."""

  low: int
  high: int = _INT32


class OneOf(NamedTuple):
  """One of a few values."""

  values: Collection[str]


class Text(NamedTuple):
  """A string that can name a file: UTF-8 without control characters, of limited length."""


class Each(NamedTuple):
  """A sequence of at least `least` values, all of which are within `limit`."""

  limit: Any
  least: int = 0


Limit = Range | Whole | OneOf | Text | Each
Weight = Annotated[float, Range(0)]
SignedWeight = Annotated[float, Range(-_FLOAT32)]
Positive = Annotated[float, Range(0, above=True)]
Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(0, 1, above=True)]
Factor = Annotated[float, Range(1)]
Margin = Annotated[float, Range(-2, 2)]  # between two cosines
Count = Annotated[int, Whole(1)]


def check(function: Callable, args: Mapping[str, Any]) -> None:
  """Raises InputError for arguments {name: value} that break a function's annotated limits."""
  errors.refuse(faults(function, args))


def faults(function: Callable, args: Mapping[str, Any]) -> list[str]:
  """A sentence for each argument in {name: value} that breaks a function's annotated limits."""
  parameters, found = inspect.signature(function, eval_str=True).parameters, []
  for name, value in args.items():
    annotation = parameters[name].annotation if name in parameters else None
    for limit in getattr(annotation, "__metadata__", ()):
      if isinstance(limit, Limit):
        found += fault(name, value, limit)
  return found


def fault(name: str, value: Any, limit: Limit) -> list[str]:
  """[a sentence that says what is wrong with a value], or [].

  Args:
    name: of the field or argument. value: its value. limit: of the value.
  """
  if isinstance(limit, OneOf):
    return [] if _listed(value, limit) else [errors.unknown(name, value, limit.values)]
  if isinstance(limit, Each) and isinstance(limit.limit, OneOf) and isinstance(value, tuple | list):
    odd = [item for item in value if not _listed(item, limit.limit)]
    if odd:
      return [errors.unknown(name, odd[0], limit.limit.values)]
  words = _words(limit, value)
  return [f"{name} = {errors.shown(value)}; it must be {words}."] if words else []


@functools.singledispatch
def _words(limit, value):
  """What a value must be, if it breaks its limit; else ""."""
  raise TypeError(f"{limit!r} is not a limit")


@_words.register
def _(limit: Range, value):
  number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if number and limit.low <= value <= limit.high:
    single = _single(value)
    if (single > limit.low or not limit.above) and (single < limit.high or not limit.below):
      return ""
  least = f"above {limit.low:g}" if limit.above else f"of at least {limit.low:g}"
  most = f" and below {limit.high:g}" if limit.below else f" and at most {limit.high:g}"
  too_high = number and limit.high < value < math.inf
  words = f"a finite number {least}" + (most if limit.high != _FLOAT32 or too_high else "")
  rounded = number and limit.low < value < limit.high
  return words + (f", but float32 rounds it to {_single(value):g}" if rounded else "")


def _single(value):
  """A number rounded to float32; subnormal numbers count as zero."""
  single = float(np.float32(value))
  return single if abs(single) >= _SMALLEST else 0.0


@_words.register
def _(limit: Whole, value):
  number = isinstance(value, int) and not isinstance(value, bool)
  if number and limit.low <= value <= limit.high:
    return ""
  too_high = number and limit.high < value
  most = f" and at most {limit.high}" if limit.high != _INT32 or too_high else ""
  return f"a whole number of at least {limit.low}{most}"


@_words.register
def _(limit: Text, value):
  if not isinstance(value, str):
    return "a string"
  if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
    return "a string without control characters"
  if any("\ud800" <= letter <= "\udfff" for letter in value):
    return "a string that UTF-8 can encode, without lone surrogates"
  return "" if len(value) <= _LONGEST else f"a string of at most {_LONGEST} characters"


@_words.register
def _(limit: Each, value):
  if not isinstance(value, tuple | list):
    return "a sequence"
  if len(value) < limit.least:
    return f"a sequence of at least {limit.least} values"
  if isinstance(limit.limit, OneOf):
    return ""  # `fault` names the unknown value
  wrong = [words for item in value if (words := _words(limit.limit, item))]
  return f"a sequence, each item {wrong[0]}" if wrong else ""


def _listed(value, limit):
  return isinstance(value, str) and value in limit.values


def in_words(limit: Limit) -> str:
  """What a value must be, for tables."""
  return f"one of {', '.join(limit.values)}" if isinstance(limit, OneOf) else _words(limit, None)
