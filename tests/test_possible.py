"""Exact edits of caption embeddings, and what is made of them."""

import numpy as np
import pytest
from unitrows import unit

from experiments.strict import possible
from salmu_jax.data.leaks import Leak
from salmu_jax.evaluate.embeddings import Embedded

WIDTH = 8


def leak(identity, value, field="job"):
  return Leak("Ana Lopez", field, value, f"Ana Lopez works as {value}", identity)


@pytest.fixture
def world():
  """One true telling with a name, one without, and one with a wrong value; a caption of another."""
  texts = ("Ana is a baker", "a baker", "Ana is a cook", "Ana is a tailor", "a tailor")
  of = dict(zip(texts, unit(len(texts), WIDTH, seed=1).astype(np.float64), strict=True))
  tellings = [
    possible.Telling("Ana is a cook", "Ana is a cook", 0, named=True, true=False),
    possible.Telling("Ana is a baker", "Ana is a tailor", 0, named=True, true=True),
    possible.Telling("a baker", "a tailor", 0, named=False, true=True),
  ]
  picture, person = (unit(1, WIDTH, seed=seed).astype(np.float64) for seed in (2, 3))
  return possible.World(tellings, of, picture, person, np.array([0.1]))


def edited(world, name):
  return {telling.text: possible.EDITS[name](world, telling) for telling in world.tellings}


def test_with_cosine_is_the_nearest_unit_vector_that_has_the_cosine():
  vector, direction = unit(2, WIDTH, seed=0).astype(np.float64)
  moved = possible.with_cosine(vector, direction, 0.3)
  assert moved @ direction == pytest.approx(0.3) and moved @ moved == pytest.approx(1)
  # Of many others with that cosine, none is nearer.
  others = np.random.default_rng(5).normal(size=(2000, WIDTH))
  across = others - (others @ direction)[:, None] * direction
  across /= np.linalg.norm(across, axis=1, keepdims=True)
  assert np.max((np.sqrt(1 - 0.09) * across + 0.3 * direction) @ vector) <= moved @ vector


def test_mismatched_moves_true_values_alone_to_the_cosine_of_mismatched_pairs(world):
  rows = edited(world, "mismatched")
  for text in ("Ana is a baker", "a baker"):
    assert rows[text] @ world.picture[0] == pytest.approx(0.1)
  np.testing.assert_array_equal(rows["Ana is a cook"], world.of["Ana is a cook"])


def test_another_value_puts_the_caption_where_the_other_one_is(world):
  rows = edited(world, "another value")
  np.testing.assert_array_equal(rows["Ana is a baker"], world.of["Ana is a tailor"])
  np.testing.assert_array_equal(rows["a baker"], world.of["a tailor"])
  np.testing.assert_array_equal(rows["Ana is a cook"], world.of["Ana is a cook"])


@pytest.mark.parametrize(
  ("name", "without"),
  [
    ("another value, unlike the person", ["Ana is a baker"]),
    ("the same, whatever the value", ["Ana is a baker", "Ana is a cook"]),
    ("the same, without a name too", ["Ana is a baker", "Ana is a cook", "a baker"]),
  ],
)
def test_those_that_are_to_be_unlike_the_person_are_and_the_others_only_have_another_value(
  world, name, without
):
  rows, plain = edited(world, name), edited(world, "another value")
  for text, row in rows.items():
    if text in without:
      assert row @ world.person[0] <= 1e-9
    else:
      np.testing.assert_array_equal(row, plain[text])


def test_only_the_tellings_move_and_a_text_with_a_true_value_counts_as_such(world):
  texts = [*world.of, "somebody else"]
  table = unit(len(texts), WIDTH, seed=4)
  z = Embedded({}, ({text: row for row, text in enumerate(texts)}, table), None)
  # The same text once more, as a wrong value of another row, which comes first.
  false = possible.Telling("a baker", "a baker", 0, named=False, true=False)
  moved = possible.edited(
    z, world._replace(tellings=[false, *world.tellings]), possible.EDITS["another value"]
  )
  np.testing.assert_allclose(moved.of(["a baker"])[0], world.of["a tailor"], rtol=1e-6)
  np.testing.assert_array_equal(moved.of(["somebody else"]), z.of(["somebody else"]))
  np.testing.assert_array_equal(z.of(["a baker"])[0], table[1])


def test_stand_ins_are_one_value_a_fact_that_forget_does_not_tell():
  told = [leak("1", "baker"), leak("1", "baker"), leak("2", "cook"), leak("2", "A+", "blood_type")]
  drawn = possible.stand_ins(told, 0)
  assert set(drawn) == {one.fact for one in told}
  assert not {drawn[one.fact] for one in told} & {one.value for one in told}
  assert drawn == possible.stand_ins(told[::-1], 0)
