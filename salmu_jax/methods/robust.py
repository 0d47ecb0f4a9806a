"""Ways to make any method robust to relearning, by their names in a config.

A way either moves the point at which the forget gradient is taken (`salmu_jax.train.points`), or
adds a transformation after the method's. It reads only the forget half of the batch and the
starting model, so a method reads no more data with it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from salmu_jax import transforms
from salmu_jax.errors import InputError, unknown
from salmu_jax.methods import naming
from salmu_jax.train import points
from salmu_jax.train.points import Point

FIELD = "robust"  # the argument of every method
_EXAMPLE = "('sam', {'rho': 0.1})"
# A name, alone or before its arguments.
Way = str | tuple[str] | tuple[str, dict[str, Any]]
POINTS: dict[str, Callable[..., Point]] = {
  "adversary": points.adversary,
  "contexts": points.contexts,
  "sam": points.sam,
}
FOLLOWING: dict[str, Callable[..., optax.GradientTransformation]] = {"undo": transforms.undo}
WAYS = {**POINTS, **FOLLOWING}


class Robust(NamedTuple):
  """What a way changes in a method: its transformation, and its point (`Method.point`)."""

  tx: optax.GradientTransformation
  point: Point | None


def name_of(way: Way) -> str:
  """The name of a way.

  Raises:
    InputError: there is no such way.
  """
  return _named(way)[0]


def made(
  way: Way, tx: optax.GradientTransformation, forgets: bool, *, steps: int, seed: int
) -> Robust:
  """Makes a method robust in a way.

  Args:
    way: a key of WAYS, alone or before its arguments: "sam", ("sam",) or ("sam", {"rho": 0.1}).
    tx: the method's transformation. forgets: whether it has a forget loss.
    steps, seed: of the run.

  Raises:
    InputError: the way is unknown, its arguments are wrong, or the method has no forget loss; the
      message names `robust`.
  """
  name, args = _named(way)
  if not forgets:
    raise InputError(
      f"{FIELD}: {name} needs a forget loss, and the method has none. Leave {FIELD} out."
    )
  one = naming.called(FIELD, name, WAYS[name], args, {"steps": steps, "seed": seed})
  if name in POINTS:
    return Robust(points.keeping(tx, one), one)
  return Robust(optax.chain(tx, one), None)


def _named(way):
  """(name, arguments) of a way."""
  alone = way[0] if isinstance(way, tuple | list) and len(way) == 1 else way
  pair = isinstance(alone, tuple | list)
  name, args = naming.named(FIELD, alone, _EXAMPLE) if pair else (alone, {})
  if not isinstance(name, str) or name not in WAYS:
    raise InputError(unknown(FIELD, name, WAYS))
  return name, args
