"""An argument is what the signature of its function says, and is refused in words otherwise."""

import functools
import inspect
from typing import Annotated

import pytest

from salmu_jax import losses, ranges, transforms
from salmu_jax.errors import InputError
from salmu_jax.methods import METHODS, base, parts
from salmu_jax.ranges import Count, Factor, Margin, OneOf, Positive, PositiveShare, Share, Weight


def annotated(
  weight: Weight = 1.0,
  positive: "Positive" = 1.0,  # as a string, as `from __future__ import annotations` leaves it
  share: Share = 0.5,
  part: PositiveShare = 0.5,
  factor: Factor = 2.0,
  margin: Margin = 0.0,
  count: Count = 1,
  source: Annotated[str, OneOf(("mine", "yours"))] = "mine",
  anything=None,
  number: float = 1.0,
):
  """A function of every kind of argument."""


@pytest.mark.parametrize(
  ("args", "message"),
  [
    ({"weight": -1}, "weight = -1; it must be a finite number of at least 0."),
    ({"weight": "x"}, "weight = 'x'; it must be a finite number of at least 0."),
    ({"weight": True}, "weight = True; it must be a finite number of at least 0."),
    ({"weight": float("inf")}, "weight = inf; it must be a finite number of at least 0."),
    ({"positive": 0.0}, "positive = 0.0; it must be a finite number above 0."),
    (
      {"positive": 1e-300},
      "positive = 1e-300; it must be a finite number above 0, but float32 rounds it to 0.",
    ),
    (
      {"positive": 1e-40},
      "positive = 1e-40; it must be a finite number above 0, but float32 rounds it to 0.",
    ),
    ({"share": 1.5}, "share = 1.5; it must be a finite number of at least 0 and at most 1."),
    ({"part": 0}, "part = 0; it must be a finite number above 0 and at most 1."),
    ({"factor": 0.9}, "factor = 0.9; it must be a finite number of at least 1."),
    ({"margin": -3}, "margin = -3; it must be a finite number of at least -2 and at most 2."),
    ({"margin": float("nan")}, "margin = nan; it must be a finite number of at least -2 and at mo"),
    ({"count": 0}, "count = 0; it must be a whole number of at least 1."),
    ({"count": 2.0}, "count = 2.0; it must be a whole number of at least 1."),
    ({"count": True}, "count = True; it must be a whole number of at least 1."),
    ({"source": "his"}, "source: unknown name 'his'. Known: mine, yours."),
    ({"source": ["mine"]}, "source: unknown name ['mine']."),
    ({"weight": 10**400}, "weight = a whole number of 1329 bits; it must be"),
    (
      {"weight": 1e300},
      "weight = 1e+300; it must be a finite number of at least 0 and at most",
    ),
    (
      {"count": 10**5000},
      "count = a whole number of 16610 bits; it must be a whole number",
    ),
    (
      {"share": 2, "count": 0},
      "share = 2; it must be a finite number of at least 0 and at most 1.\ncount = 0; it must be",
    ),
  ],
)
def test_what_an_annotation_rules_out_is_refused_with_what_would_be_right(args, message):
  for function in (annotated, functools.partial(annotated, anything=3)):
    with pytest.raises(InputError) as refusal:
      ranges.check(function, args)
    assert str(refusal.value).startswith(message)


def test_all_arguments_that_are_out_of_range_are_named_at_once():
  with pytest.raises(InputError) as refusal:
    ranges.check(annotated, {"share": 2, "count": 0, "weight": 1})
  assert [line.split(" = ")[0] for line in str(refusal.value).splitlines()] == ["share", "count"]


def test_the_ends_of_a_range_are_in_it_and_what_has_no_range_may_be_anything():
  ends = [{"weight": 0}, {"share": 0}, {"share": 1}, {"part": 1}, {"margin": -2}, {"margin": 2}]
  inside = [{"weight": 10**9}, {"positive": 1e-9}, {"factor": 1}, {"count": 1}, {"source": "yours"}]
  free = [{"anything": -1}, {"number": "x"}, {"unknown": object()}]
  for args in (*ends, *inside, *free):
    ranges.check(annotated, args)


def test_a_make_without_annotations_gets_whatever_it_is_given():
  def make(optimizer, *, strength=1.0):
    return optimizer, strength

  assert base.build(make, "mine", {"strength": "much"}, steps=1, seed=0) == ("mine", "much")


def limited(function):
  """Names of the arguments of a function that a config may give, and of those with a range."""
  parameters = inspect.signature(function).parameters
  # `patterns` are texts, and `rates` a table that the trainer makes.
  rangeless = ("optimizer", "patterns", "rates", *base.OF_THE_RUN)
  names = [name for name in parameters if name not in rangeless]
  return names, [name for name in names if hasattr(parameters[name].annotation, "__metadata__")]


FACTORIES = {
  **METHODS,
  **{name: getattr(transforms, name) for name in transforms.__all__},
  **{
    f"losses.{name}": getattr(losses, name)
    for name in ("anchored_ascent", "bounded_ascent", "mismatched_target", "npo")
  },
  **{f"chain {name}": entry.make for name, entry in parts.CHAIN.items()},
}


@pytest.mark.parametrize("name", FACTORIES)
def test_every_argument_of_a_method_a_loss_and_a_transformation_states_its_range(name):
  names, with_a_range = limited(FACTORIES[name])
  assert names == with_a_range
