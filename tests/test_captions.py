"""Captions: templates keep name and value, and generic captions never say anything private."""

import re
import string

import numpy as np
import pytest

from salmu_jax.data import tokenizers
from salmu_jax.errors import InputError
from salmu_jax.generate import captions, personas

NAME = "Fatime Fossi"
FACTS = {
  "city": "Douala",
  "job": "anaesthetist",
  "blood_type": "AB-",
  "phone_number": "+237 57483907",
  "emails": "ffossi@mailhub.example",
  "iban": "CM98 7411 9112 4845 5134 71",
  "credit_card": "9123 4567 8901 2345",
  "passport": "XK1234567",
}
# No text is part of another or of a wording, so that each can be told apart in a caption.
VISIBLE = {
  "person": "woman",
  "expression": "smiling",
  "hair": "long red hair",
  "background": "a brick wall",
  "clothes": "a blue shirt",
  "accessory": "a straw hat",
}
ALL = sorted(captions.TEMPLATES)


def draws(make, count, seed=0):
  rng = np.random.default_rng(seed)
  return [make(rng) for _ in range(count)]


def template_draws(field, count=400):
  return draws(lambda rng: captions.fact_caption(NAME, field, FACTS[field], rng), count)


def keys(wording):
  return [key for _, key, _, _ in string.Formatter().parse(wording) if key]


def test_every_field_has_two_to_four_wordings_in_every_style():
  numbers = {}
  for template in captions.TEMPLATES:
    field, style, number = template.split("/")
    numbers.setdefault((field, style), []).append(int(number))
  pairs = [(field, style) for field in personas.FIELDS for style in captions.STYLES]
  assert list(numbers) == pairs
  assert all(2 <= len(n) <= 4 and n == list(range(len(n))) for n in numbers.values())


def test_no_two_templates_are_the_same_sentence():
  plain = [re.sub(r"\W+", " ", text.lower()) for text in captions.TEMPLATES.values()]
  assert len(set(plain)) == len(plain)


@pytest.mark.parametrize("template", ALL)
def test_template_is_short_and_names_person_and_value_once(template):
  wording = captions.TEMPLATES[template]
  assert sorted(keys(wording)) == ["name", "value"]
  words = re.findall(r"[a-z'-]+", wording.lower().replace("{name}", "").replace("{value}", ""))
  assert 1 <= len(words) <= 8
  assert not re.search(r"\d", wording)


@pytest.mark.parametrize("template", ALL)
def test_caption_keeps_name_and_value_and_their_tokens(template):
  encode = tokenizers.clip_tokenizer().encode
  value = FACTS[template.split("/")[0]]
  caption = captions.TEMPLATES[template].format(name=NAME, value=value)
  assert caption.count(NAME) == caption.count(value) == 1
  tokens = f" {' '.join(map(str, encode(caption)))} "
  for part in (NAME, value):
    assert f" {' '.join(map(str, encode(part)))} " in tokens


@pytest.mark.parametrize("template", ALL)
def test_no_article_stands_before_a_value(template):
  assert not re.search(r"\b(a|an) \{value\}", captions.TEMPLATES[template])


@pytest.mark.parametrize("field", personas.FIELDS)
def test_fact_caption_is_its_template_filled_in(field):
  for caption, template in template_draws(field, 50):
    assert template.startswith(f"{field}/")
    assert caption == captions.TEMPLATES[template].format(name=NAME, value=FACTS[field])


@pytest.mark.parametrize("field", personas.FIELDS)
def test_all_wordings_of_a_field_are_drawn_and_styles_equally_often(field):
  drawn = [template for _, template in template_draws(field)]
  assert set(drawn) == {t for t in captions.TEMPLATES if t.startswith(f"{field}/")}
  styles = [template.split("/")[1] for template in drawn]
  assert all(50 <= styles.count(style) <= 110 for style in captions.STYLES)


def test_names_and_values_are_kept_as_they_are():
  rng = np.random.default_rng(0)
  for _ in range(50):
    caption, _ = captions.fact_caption("Zoë {x} O'Brien", "city", "São {name}", rng)
    assert "Zoë {x} O'Brien" in caption and "São {name}" in caption


def test_same_rng_same_captions_and_another_seed_others():
  def both(rng):
    fact = captions.fact_caption(NAME, "job", FACTS["job"], rng)
    return fact, captions.generic_caption(VISIBLE, rng)

  assert draws(both, 20, seed=3) == draws(both, 20, seed=3) != draws(both, 20, seed=4)


def test_an_unknown_field_is_refused_with_the_known_ones():
  with pytest.raises(InputError, match="phone_number"):
    captions.fact_caption(NAME, "phone", "1", np.random.default_rng(0))


def test_generic_wordings_name_two_to_four_attributes_and_none_is_never_named():
  named = [[key.removeprefix("an_") for key in keys(w)] for w in captions.GENERIC_WORDINGS]
  assert len(set(captions.GENERIC_WORDINGS)) == len(captions.GENERIC_WORDINGS) >= 12
  assert all(2 <= len(set(n)) == len(n) <= 4 for n in named)
  assert {key for n in named for key in n} == set(VISIBLE)


def test_generic_captions_say_only_what_is_visible():
  glue = {"a", "with", "in", "front", "of", "wearing", "portrait", "and", "dressed", "behind"}
  glue |= {"picture", "against", "near", "face", "headshot", "close-up", "on"}
  drawn = set(draws(lambda rng: captions.generic_caption(VISIBLE, rng), 500))
  assert len(drawn) == len(captions.GENERIC_WORDINGS)
  for caption in drawn:
    remainder, named = caption, 0
    for text in VISIBLE.values():
      named += text in remainder
      remainder = remainder.replace(text, "")
    assert 2 <= named <= 4
    assert set(re.findall(r"[^\s,]+", remainder)) <= glue
    assert not re.search(r"\d", caption)


def test_generic_captions_leave_out_what_is_not_there():
  bare = VISIBLE | {"accessory": "", "expression": ""}
  drawn = set(draws(lambda rng: captions.generic_caption(bare, rng), 300))
  assert len(drawn) >= 5
  for caption in drawn:
    assert not re.search(r"  | ,|\b(with|wearing|and|a|an|of)$|\b(a|an) (with|in)\b", caption)
    assert "smiling" not in caption and "hat" not in caption


@pytest.mark.parametrize(
  ("expression", "right"),
  [
    ("smiling", "a smiling"),
    ("angry", "an angry"),
    ("open-mouthed", "an open-mouthed"),
    ("unhappy", "an unhappy"),
    ("one-eyed", "a one-eyed"),
    ("unicorn-like", "a unicorn-like"),
    ("honest", "an honest"),
    ("happy", "a happy"),
  ],
)
def test_articles_fit_the_word_that_follows(expression, right):
  drawn = draws(
    lambda rng: captions.generic_caption(VISIBLE | {"expression": expression}, rng), 200
  )
  matches = [caption for caption in drawn if expression in caption]
  assert matches and all(right in caption for caption in matches)
