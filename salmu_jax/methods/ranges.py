"""What the arguments of methods, losses and transformations may be, by their names."""

import math
import numbers

from salmu_jax.errors import InputError
from salmu_jax.methods.surrogates import SOURCES

_INF = math.inf
# Name -> least and greatest value. One that must be above its least value is in _ABOVE.
NUMBERS = {
  "alpha": (0, _INF),
  "anchors": (0, _INF),
  "ascent": (0, 1),
  "beta": (0, _INF),
  "coefficient": (0, _INF),
  "consistency": (0, _INF),
  "forget": (0, _INF),
  "fraction": (0, 1),
  "limit": (0, _INF),
  "margin": (-2, 2),
  "max_norm": (0, _INF),
  "penalty": (0, _INF),
  "perturbation": (0, _INF),
  "power": (0, 1),
  "radius": (0, _INF),
  "retain": (0, _INF),
  "reworded": (0, 1),
  "sigma": (0, _INF),
  "softness": (0, _INF),
  "spread": (1, _INF),
  "step_size": (0, _INF),
  "strength": (0, _INF),
  "task": (0, _INF),
  "weight": (0, _INF),
}
COUNTS = ("count", "layers", "legs", "rank", "surrogates", "until")
CHOICES = {"source": SOURCES}
_ABOVE = ("beta", "fraction", "max_norm", "radius", "softness", "step_size")


def check(args):
  """Raises InputError for the first of {name: value} that is of a wrong type or out of its
  range.
  """
  for name, value in args.items():
    if name in COUNTS:
      _check_count(name, value)
    elif name in NUMBERS:
      _check_number(name, value)
    elif name in CHOICES and value not in CHOICES[name]:
      raise InputError(f"{name} = {value!r}; it must be one of {', '.join(CHOICES[name])}.")


def _check_count(name, value):
  if not isinstance(value, int) or isinstance(value, bool) or value < 1:
    raise InputError(f"{name} = {value!r}; it must be a whole number of at least 1.")


def _check_number(name, value):
  low, high = NUMBERS[name]
  number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  above = number and (value > low if name in _ABOVE else value >= low)
  finite = number and math.isfinite(value)
  if not (above and finite and value <= high):
    least = f"above {low:g}" if name in _ABOVE else f"of at least {low:g}"
    most = "" if high == _INF else f" and at most {high:g}"
    raise InputError(f"{name} = {value!r}; it must be a finite number {least}{most}.")
