"""Questions for facts: the value is asked for, given face and name; against loops in numpy."""

import types

import numpy as np
import pytest
from ml_collections import ConfigDict
from unitrows import unit

from salmu_jax.data.leaks import Leak
from salmu_jax.evaluate import facts, metrics
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.results import splits
from salmu_jax.results.metrics_table import FACT_WORDINGS

SETTINGS = ConfigDict({"seed": 42, "facts": 100, "rivals": 5})
CITIES = ("Oslo", "York", "New York", "Lima", "Quito", "Bern", "Riga", "Kyiv")


def people(**changes):
  """Eight people with a city, a phone number and one or two e-mail addresses."""
  table = {
    f"{n:08d}": {
      "name": f"Ann York {n}",
      "city": city,
      "phone_number": f"+{n} {n}{n}",
      "emails": [f"ann{n}@mail.example", f"york{n}@mail.example"],
    }
    for n, city in enumerate(CITIES)
  }
  for identity, facts_of in changes.items():
    table[identity] |= facts_of
  return table


def world(identities=None, wording="{name} has {value}", fields=("city", "phone_number", "emails")):
  """A release of which only texts exist, and its tables: three rows of each fact."""
  identities = identities or people()
  rows = {split: [] for split in splits.sensitive()}
  for number, identity in enumerate(identities):
    split = ("forget", "forget", "holdout_association", "holdout_identity")[number % 4]
    for field in fields:
      value = identities[identity][field]
      value = value[0] if isinstance(value, list) else value
      text = wording.format(name=identities[identity]["name"], value=value)
      rows[split] += [(identity, f"{identity}_{field}_{i}", text, field) for i in range(3)]
  captions = {name: {"data_field": field} for rows_ in rows.values() for _, name, _, field in rows_}
  tables = {
    split: {
      "identity_id": np.array([row[0] for row in rows_]),
      "file_name": np.array([row[1] for row in rows_]),
      "text": np.array([row[2] for row in rows_]),
    }
    for split, rows_ in rows.items()
  }
  return types.SimpleNamespace(identities=identities, captions=captions), tables


def embedded(asked, tables, seed=0, dimensions=6):
  """Random embeddings of all pictures and of all sentences asked."""
  sentences_ = dict.fromkeys(
    text for by in asked.values() for part in by.values() for texts in part.texts for text in texts
  )
  image = {
    split: unit(len(table["text"]), dimensions, seed=seed + number)
    for number, (split, table) in enumerate(tables.items())
  }
  table = unit(len(sentences_), dimensions, seed=seed + 9)
  return Embedded(image, ({text: at for at, text in enumerate(sentences_)}, table), None)


def by_loops(asked, z, split, wording):
  """The answers of a split in one wording, question by question and order by order."""
  part, row_of = asked[split][wording], z.text[0]
  answers = []
  for row, texts in zip(part.rows, part.texts, strict=True):
    picture = z.image[split][row].astype(np.float64)
    true, *others = (float(picture @ z.text[1][row_of[text]].astype(np.float64)) for text in texts)
    above = [not other <= true + metrics.TIE for other in others]
    tied = [abs(other - true) <= metrics.TIE for other in others]
    places = range(sum(above), sum(above) + sum(tied) + 1)
    pair = 0 if above[0] else 0.5 if tied[0] else 1
    answers.append([np.mean([1 / (1 + place) for place in places]), pair, true - np.mean(others)])
  return np.array(answers)


@pytest.mark.parametrize("wording", FACT_WORDINGS)
@pytest.mark.parametrize("split", splits.sensitive())
def test_answers_equal_loops_over_the_questions(split, wording):
  release, tables = world()
  asked = facts.questions(release, tables, SETTINGS)
  z = embedded(asked, tables)
  part, answers = facts.answered(asked, z)[split][wording]
  assert part is asked[split][wording] and len(part.rows) >= 6
  expected = by_loops(asked, z, split, wording)
  np.testing.assert_allclose(np.stack(answers, axis=1), expected, atol=1e-6)


def test_values_that_tie_share_their_places_and_a_collapsed_model_is_at_chance():
  release, tables = world(people(**{"00000001": {"city": "Oslo"}}))
  asked = facts.questions(release, tables, SETTINGS)
  z = embedded(asked, tables)
  row_of, table = z.text
  pairs = z._replace(
    text=(row_of, np.repeat(table[: len(table) // 2 + 1], 2, axis=0)[: len(table)])
  )
  _, answers = facts.answered(asked, pairs)["forget"]["new"]
  expected = by_loops(asked, pairs, "forget", "new")
  np.testing.assert_allclose(np.stack(answers, axis=1), expected, atol=1e-6)
  assert 0.5 in answers.pair
  collapsed = z._replace(
    image={split: np.ones_like(rows) / 6**0.5 for split, rows in z.image.items()},
    text=(row_of, np.ones_like(table) / 6**0.5),
  )
  for by in facts.answered(asked, collapsed).values():
    for part, answers in by.values():
      assert np.mean(answers.reciprocal_rank) == pytest.approx(facts.chance(part))
      assert set(answers.pair) == {0.5}
      np.testing.assert_allclose(answers.margin, 0, atol=1e-6)


def test_a_model_that_returns_nan_is_below_chance():
  release, tables = world()
  asked = facts.questions(release, tables, SETTINGS)
  z = embedded(asked, tables)
  z = z._replace(text=(z.text[0], np.full_like(z.text[1], np.nan)))
  part, answers = facts.answered(asked, z)["forget"]["own"]
  np.testing.assert_allclose(answers.reciprocal_rank, [1 / len(texts) for texts in part.texts])
  assert set(answers.pair) == {0}


def test_chance_is_the_mean_reciprocal_rank_over_all_places():
  part = facts.Asked(np.arange(2), [["a"] * 3, ["a"] * 2])
  assert facts.chance(part) == pytest.approx(((1 + 1 / 2 + 1 / 3) / 3 + (1 + 1 / 2) / 2) / 2)


def test_the_true_value_stands_first_and_other_values_are_nobody_elses_of_that_person():
  shared = people(**{"00000004": {"city": "Oslo"}, "00000005": {"city": "Lima"}})
  release, tables = world(shared)
  settings = ConfigDict(SETTINGS.to_dict() | {"rivals": 100})
  asked = facts.questions(release, tables, settings)
  drawn = {field: set() for field in ("city", "phone_number", "emails")}
  for split, by in asked.items():
    for wording, part in by.items():
      for row, texts in zip(part.rows, part.texts, strict=True):
        identity, name = (tables[split][key][row] for key in ("identity_id", "file_name"))
        field = name.removeprefix(f"{identity}_")[:-2]
        own = release.identities[identity][field]
        own = own if isinstance(own, list) else [own]
        assert own[0] in texts[0]
        assert len(texts) == len(set(texts))
        if wording == "own":
          prefix = f"{release.identities[identity]['name']} has "
          assert texts[0] == tables[split]["text"][row]
          values = [text.removeprefix(prefix) for text in texts]
          assert not set(values[1:]) & set(own)
          drawn[field] |= set(values[1:])
  assert drawn["city"] == {"Oslo", "York", "New York", "Lima", "Riga", "Kyiv"}
  assert len(drawn["phone_number"]) == len(CITIES)


def test_every_fact_is_asked_once_and_at_most_as_many_as_the_settings_say():
  release, tables = world()
  asked = facts.questions(release, tables, SETTINGS)["forget"]["own"]
  names = [name[:-2] for name in tables["forget"]["file_name"][asked.rows]]
  assert sorted(names) == sorted({name[:-2] for name in tables["forget"]["file_name"]})
  few = ConfigDict(SETTINGS.to_dict() | {"facts": 4, "rivals": 2})
  for by in facts.questions(release, tables, few).values():
    assert {len(part.rows) for part in by.values()} == {4}
    assert {len(texts) for part in by.values() for texts in part.texts} == {3}


def test_the_questions_are_the_same_in_every_run():
  release, tables = world()
  one, other = (facts.questions(release, tables, SETTINGS) for _ in range(2))
  flat = lambda asked: [
    (w, p.rows.tolist(), p.texts) for by in asked.values() for w, p in by.items()
  ]
  assert flat(one) == flat(other)
  other_seed = facts.questions(release, tables, ConfigDict(SETTINGS.to_dict() | {"seed": 7}))
  assert flat(one) != flat(other_seed)


def test_captions_without_their_value_are_not_asked_in_their_own_words_and_that_is_said():
  release, tables = world(wording="{name} is somebody")
  asked = facts.questions(release, tables, SETTINGS)
  part = asked["forget"]["own"]
  assert not len(part.rows) and part.why == "no caption of forget holds its value"
  assert len(asked["forget"]["new"].rows) == 12
  described = facts.described(facts.answered(asked, embedded(asked, tables)))
  assert described["forget"]["own"] == {"why": part.why}
  assert described["forget"]["new"].keys() == {"chance", "margins"}


def test_a_field_with_one_value_is_not_asked():
  alike = {identity: {"city": "Oslo"} for identity in people()}
  release, tables = world(people(**alike), fields=("city",))
  for wording, part in facts.questions(release, tables, SETTINGS)["forget"].items():
    assert not len(part.rows), wording
    assert part.why == "no field of forget has a second value"
  asked = facts.questions(*world(people(**alike)), SETTINGS)["forget"]["own"]
  assert len(asked.rows) == 8


def test_a_field_without_wordings_is_asked_in_its_own_words_alone():
  identities = {
    i: {**facts_of, "shoe_size": str(40 + n)} for n, (i, facts_of) in enumerate(people().items())
  }
  release, tables = world(identities, fields=("shoe_size",))
  asked = facts.questions(release, tables, SETTINGS)["forget"]
  assert len(asked["own"].rows) == 4
  for wording in ("new", "nameless"):
    assert asked[wording].why == "there are no wordings for the fields of forget"


def test_a_value_inside_a_name_or_inside_another_value_is_replaced_alone():
  leak = Leak("Ann York", "city", "York", "In York we met Ann York, York", "0")
  assert leak.with_value("Lima") == "In Lima we met Ann York, Lima"
  assert Leak("Ann", "city", "New York", "Ann of New York", "0").with_value("York") == "Ann of York"
  assert Leak("York", "city", "New York", "York, New York", "0").with_value("Oslo") == "York, Oslo"
  assert Leak("Ann", "city", "Oslo", "Ann is here", "0").with_value("Lima") is None
  assert Leak("Ann", "city", "", "Ann is here", "0").with_value("Lima") is None
