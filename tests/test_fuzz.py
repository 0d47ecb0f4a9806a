"""Whatever people hand to the program, it works or is refused in words: a part of
experiments/fuzz, drawn anew with a fixed seed.
"""

import pytest
from hypothesis import strategies as st

from experiments.fuzz import inputs
from experiments.fuzz import world as worlds
from experiments.fuzz.families import FAMILIES, Family
from salmu_jax.errors import InputError

COUNT = 240  # inputs in all
SHARES = sum(family.share for family in FAMILIES.values())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  return worlds.make(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("name", FAMILIES)
def test_any_input_is_accepted_or_refused_in_words(name, world):
  count = max(8, COUNT * FAMILIES[name].share // SHARES)
  found = inputs.run(world, name, count)
  assert found.pop("examples") == []
  assert found["accepted"] + found["refused"] == sum(found.values()) >= count // 2


def raising(error):
  def run(world, case):
    raise error

  return Family(lambda world: st.integers(), run)


@pytest.mark.parametrize(
  ("family", "outcome"),
  [
    (Family(lambda world: st.integers(), lambda world, case: ""), "accepted"),
    (Family(lambda world: st.integers(), lambda world, case: "another number"), "silent"),
    (raising(InputError("It must be 3.")), "refused"),
    (raising(ZeroDivisionError()), "traceback"),
  ],
)
def test_the_fuzz_tells_a_refusal_from_a_fault(family, outcome, monkeypatch):
  monkeypatch.setitem(FAMILIES, "made up", family)
  found = inputs.run(None, "made up", 10)
  assert found[outcome] == 10 and bool(found["examples"]) == (outcome in ("silent", "traceback"))


def test_the_fuzz_tells_an_input_that_hangs(monkeypatch):
  def endless(world, case):
    while True:
      pass

  monkeypatch.setattr(inputs, "LIMIT", 1)
  assert inputs.outcome(None, Family(lambda world: st.none(), endless), None) == ("hang", "")
