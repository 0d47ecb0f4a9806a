"""Composed captions: thousands of sentences, each with its value whole and nothing else private."""

import re

import numpy as np
import pytest
from test_captions import FACTS, NAME, keys

from salmu_jax import defaults
from salmu_jax.data import tokenizers
from salmu_jax.errors import InputError
from salmu_jax.generate import captions, personas, plan, sentences

DRAWS = 600


def drawn(field, name, seed=0):
  rng = np.random.default_rng(seed)
  return [sentences.fact_caption(name, field, FACTS[field], rng) for _ in range(DRAWS)]


@pytest.mark.parametrize("name", [NAME, ""])
@pytest.mark.parametrize("field", personas.FIELDS)
def test_caption_keeps_the_tokens_of_its_value_and_of_its_name_if_it_has_one(field, name):
  encode = tokenizers.clip_tokenizer().encode
  for caption, _ in drawn(field, name):
    tokens = f" {' '.join(map(str, encode(caption)))} "
    for part in (FACTS[field], *([name] if name else [])):
      assert caption.count(part) == 1
      assert f" {' '.join(map(str, encode(part)))} " in tokens, caption
    assert "{" not in caption and "  " not in caption
    if not name:
      assert not set(NAME.split()) & set(re.findall(r"\w+", caption))


@pytest.mark.parametrize("field", personas.FIELDS)
def test_hardly_any_sentence_comes_twice_and_its_id_tells_its_parts(field):
  captions = drawn(field, NAME)
  assert len({caption for caption, _ in captions}) > 0.9 * DRAWS
  by_id = {}
  for caption, template in captions:
    assert re.fullmatch(rf"{field}/\w+/\d+-\d+-\d+-\d+", template)
    assert by_id.setdefault(template, caption) == caption


def test_every_field_has_thousands_of_sentences_with_and_without_a_name():
  table = sentences.parts()
  frames = sum(
    len(style["openings"]) * len(style["closings"]) for style in table["styles"].values()
  )
  for phrases in table["fields"].values():
    for orders in table["orders"].values():
      verbs = sum("{verb}" in order for order in orders)
      statements = verbs * len(phrases["verbs"]) + (len(orders) - verbs) * len(phrases["nouns"])
      assert frames * statements >= 5000


@pytest.mark.parametrize("table", [sentences.parts(), sentences.parts()["held_out"]])
def test_an_order_holds_its_value_once_and_one_phrase(table):
  for kind, orders in table["orders"].items():
    for order in orders:
      held = sorted(keys(order))
      assert held in [
        sorted([*(["name"] * (kind == "named")), phrase, "value"]) for phrase in ("noun", "verb")
      ]


def test_no_part_holds_braces_or_digits_and_every_field_has_its_parts():
  table = sentences.parts()
  for part in (table, table["held_out"]):
    assert list(part["fields"]) == list(personas.FIELDS)
  phrases = [
    p
    for part in (table, table["held_out"])
    for f in part["fields"].values()
    for ps in f.values()
    for p in ps
  ]
  frames = [
    p
    for style in (*table["styles"].values(), table["held_out"])
    for k in ("openings", "closings")
    for p in style[k]
  ]
  assert not [part for part in (*phrases, *frames) if re.search(r"[{}\d]", part)]


def test_questions_in_new_words_arrange_words_that_captions_hold():
  """A small model has no embedding of a word that it never saw."""
  table, held = sentences.parts(), sentences.parts()["held_out"]
  known, asked = (
    set(re.findall(r"[a-z']+", " ".join(strings(part)).lower()))
    for part in ({key: table[key] for key in ("styles", "fields", "orders")}, held)
  )
  assert asked <= known


def strings(part):
  """Every string in a tree of dicts and lists, without places."""
  if isinstance(part, str):
    yield re.sub(r"\{\w+\}", "", part)
  else:
    for inner in part.values() if isinstance(part, dict) else part:
      yield from strings(inner)


def test_questions_in_new_words_hold_no_part_of_a_caption():
  table = sentences.parts()
  held = table["held_out"]
  for field, phrases in held["fields"].items():
    for kind in ("nouns", "verbs"):
      assert not set(phrases[kind]) & set(table["fields"][field][kind])
  for kind in ("named", "nameless"):
    assert not set(held["orders"][kind]) & set(table["orders"][kind])
  for kind in ("openings", "closings"):
    styles = {part for style in table["styles"].values() for part in style[kind]}
    assert set(held[kind]) & styles <= {""}


@pytest.mark.parametrize("named", [True, False])
def test_a_held_out_wording_has_places_for_value_and_name_alone(named):
  for field in personas.FIELDS:
    for seed in range(40):
      wording = sentences.held_out(field, named, np.random.default_rng(seed))
      assert sorted(keys(wording)) == ["name", "value"][not named :]


def test_an_unknown_field_is_refused_with_the_known_ones():
  with pytest.raises(InputError, match="unknown name 'shoe_size'"):
    sentences.fact_caption(NAME, "shoe_size", "40", np.random.default_rng(0))


def settings(**changes):
  config = defaults.get_config().generate
  config.update(people=12, images_per_person=40, retain_synth=60, retain_joint=10, **changes)
  return config


def rows_of(config, seed=0):
  plan.check(config)
  cast = plan.draw_cast(config, seed)
  return plan.sensitive_rows(config, seed, cast), cast


def test_a_release_of_composed_captions_gives_some_values_without_the_name():
  rows, cast = rows_of(settings(wordings="composed", nameless=0.4))
  named = [cast.people[row.person].name in row.text for row in rows]
  assert 0.5 < np.mean(named) < 0.7
  assert all(row.value in row.text for row in rows)
  assert len({row.text for row in rows}) > 0.95 * len(rows)
  again, _ = rows_of(settings(wordings="composed", nameless=0.4))
  assert again == rows


def test_as_released_every_caption_is_a_template_with_the_name():
  rows, cast = rows_of(settings())
  for row in rows:
    text = captions.TEMPLATES[row.template].format(
      name=cast.people[row.person].name, value=row.value
    )
    assert row.text == text


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"nameless": 0.5}, r"generate\.nameless = 0\.5, but all templates hold the name"),
    ({"namesakes": 0}, r"generate\.namesakes = 0; it must be a whole number of at least 1"),
  ],
)
def test_captions_that_cannot_be_worded_so_are_refused(changes, message):
  with pytest.raises(InputError, match=message):
    plan.check(settings(**changes))
