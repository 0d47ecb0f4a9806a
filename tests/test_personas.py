"""People are unique, reproducible, fit their country, and have no value of a real person."""

import re
import unicodedata

import numpy as np
import phonenumbers
import pytest
import schwifty
from schwifty import registry

from salmu_jax.errors import InputError
from salmu_jax.generate import personas

COUNT = 2000
UNIQUE = ("phone_number", "emails", "iban", "credit_card", "passport")
LENGTHS = {"given_f": 12, "given_m": 12, "family": 24, "family_f": 24, "cities": 8}
LONGEST_NAME = 24


@pytest.fixture(scope="module")
def everybody():
  return personas.people(0, COUNT)


def passes_luhn(digits):
  total = 0
  for place, digit in enumerate(reversed(digits)):
    value = int(digit) * (1 + place % 2)
    total += value - 9 if value > 9 else value
  return total % 10 == 0


def is_fictitious_phone(text):
  number = phonenumbers.parse(text, None)
  return phonenumbers.is_possible_number(number) and not phonenumbers.is_valid_number(number)


def strings(value):
  """Every string in a tree of dicts and lists."""
  if isinstance(value, str):
    return [value]
  children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
  return [text for child in children for text in strings(child)]


def test_the_table_has_65_countries_with_full_lists_and_no_duplicates():
  table = personas.countries()
  assert len(table) == 65
  assert list(table) == sorted(table)
  assert len({country["name"] for country in table.values()}) == 65
  for code, country in table.items():
    for field, length in LENGTHS.items():
      if field in country:
        assert len(country[field]) == length, (code, field)
        # Greek and some Slavic surnames have one form for all, so lists are compared alone.
        assert len(set(country[field])) == length, (code, field)
    assert set(LENGTHS) - set(country) <= {"family_f"}
    assert not set(country["given_f"]) & set(country["given_m"]), code


def test_appearance_priors_are_ranges_and_distributions():
  for code, country in personas.countries().items():
    low, high = country["skin"]
    assert 0 <= low < high <= 1, code
    assert list(country["hair"]) == ["black", "brown", "blond", "red", "grey"], code
    assert min(country["hair"].values()) >= 0, code
    assert sum(country["hair"].values()) == pytest.approx(1), code


def test_names_in_the_table_are_short_latin_and_safe_in_a_template():
  for code, country in personas.countries().items():
    for text in strings(country):
      assert text == text.strip() and text == unicodedata.normalize("NFC", text), (code, text)
      assert not set(text) & set("{}"), (code, text)
      assert all(unicodedata.name(c).startswith("LATIN") for c in text if c.isalpha()), (code, text)
    for key, family in (
      ("given_f", country.get("family_f", country["family"])),
      ("given_m", country["family"]),
    ):
      longest = max(map(len, country[key])) + 1 + max(map(len, family))
      assert longest <= LONGEST_NAME, (code, key)


def test_dial_codes_and_iban_patterns_are_those_of_the_registries():
  for code, country in personas.countries().items():
    assert country["dial"] == phonenumbers.country_code_for_region(code)
    assert country["iban_len"] == registry.get_iban_spec(code).iban_length
    assert 4 + sum(map(int, re.findall(r"(\d+)!", country["bban"]))) == country["iban_len"]
    assert re.fullmatch(r"(\d+![nac])+", country["bban"]), code


def test_no_number_behind_a_fictitious_prefix_is_valid():
  rng = np.random.default_rng(0)
  for code, country in personas.countries().items():
    for prefix in country["fictitious_prefixes"]:
      for _ in range(3):
        rest = "".join(map(str, rng.integers(10, size=country["nsn_len"] - len(prefix))))
        assert is_fictitious_phone(f"+{country['dial']} {prefix}{rest}"), (code, prefix, rest)


def test_phone_numbers_are_possible_and_of_the_country_but_never_valid(everybody):
  for person in everybody:
    country = personas.countries()[person.country_code]
    text = person.facts["phone_number"]
    assert is_fictitious_phone(text), person
    dial, digits = text.split(" ")
    assert dial == f"+{country['dial']}"
    assert len(digits) == country["nsn_len"] and digits.isdecimal()


def test_ibans_have_the_country_s_form_and_wrong_check_digits(everybody):
  for person in everybody:
    text = person.facts["iban"]
    compact = text.replace(" ", "")
    assert text == " ".join(re.findall(".{1,4}", compact))
    assert not schwifty.IBAN(compact, allow_invalid=True).is_valid, person
    # from_bban raises where the account part breaks the pattern, and computes the right digits.
    right = schwifty.IBAN.from_bban(person.country_code, compact[4:])
    assert len(right) == len(compact)
    assert compact[:2] == person.country_code
    assert compact[2:4] != right.checksum_digits and 2 <= int(compact[2:4]) <= 98


def test_cards_start_with_nine_and_fail_luhn(everybody):
  assert passes_luhn("4111111111111111")
  for person in everybody:
    text = person.facts["credit_card"]
    assert re.fullmatch(r"9\d{3}( \d{4}){3}", text)
    digits = text.replace(" ", "")
    assert not passes_luhn(digits), person
    assert sum(passes_luhn(digits[:-1] + last) for last in "0123456789") == 1


def test_emails_come_from_the_name_and_end_in_example(everybody):
  checked = 0
  for person in everybody:
    address = person.facts["emails"]
    assert len(address) <= 24
    match = re.fullmatch(r"([a-z]+)(\d\d)?@[a-z]+\.example", address)
    assert match, person
    words = person.name.lower().replace("-", "").replace("'", "").split(" ")
    if person.name.isascii() and len(words) == 2:
      forename, family = words
      forms = (forename[0] + family, family + forename[0], forename + family[0], forename + family)
      assert any(form.startswith(match[1]) for form in forms), person
      checked += 1
  assert checked > COUNT / 3


def test_names_become_ascii_letter_by_letter():
  assert personas._ascii("S\u00f8ren") == "soren"
  assert personas._ascii("\u0130l\u0131\u015f \u0141ab\u0119d\u017a") == "ilislabedz"
  assert personas._ascii("\u0110or\u0111e N'Guessan-A\u00eft") == "dordenguessanait"
  assert personas._ascii("\u00de\u00f3r\u00f0ur Gro\u00df K\u00e6r") == "thordurgrosskaer"
  for country in personas.countries().values():
    for name in country["given_f"] + country["given_m"] + country["family"]:
      letters = sum(c.isalpha() for c in name)
      assert letters <= len(personas._ascii(name)) <= letters + 1, name


def test_passports_have_their_form(everybody):
  assert all(re.fullmatch(r"X[A-Z]\d{7}", person.facts["passport"]) for person in everybody)


def test_unique_values_are_unique(everybody):
  assert len({person.name for person in everybody}) == COUNT
  for field in UNIQUE:
    assert len({person.facts[field] for person in everybody}) == COUNT, field


@pytest.mark.parametrize("namesakes", [2, 3])
def test_namesakes_share_name_gender_and_country_and_no_number(namesakes):
  people = personas.people(0, 100, namesakes)
  by_name = {}
  for person in people:
    by_name.setdefault(person.name, []).append(person)
  counts = [len(group) for group in by_name.values()]
  assert max(counts) == namesakes and sum(count < namesakes for count in counts) <= 2
  for group in by_name.values():
    assert len({(person.gender, person.country_code) for person in group}) == 1
  for field in UNIQUE:
    assert len({person.facts[field] for person in people}) == len(people)
  assert people[:40] == personas.people(0, 40, namesakes)


def test_a_colliding_value_is_drawn_again():
  values = iter("aab")
  used = {"a"}
  assert personas._unused(used, lambda: next(values)) == "b"
  assert used == {"a", "b"}


def test_people_fit_their_country(everybody):
  table = personas.countries()
  assert {person.country_code for person in everybody} == set(table)
  for person in everybody:
    country = table[person.country_code]
    forename, family = person.name.split(" ", 1)
    woman = person.gender == "woman"
    assert forename in country["given_f" if woman else "given_m"], person
    assert family in country["family_f" if woman and "family_f" in country else "family"], person
    assert person.facts["city"] in country["cities"], person
    assert country["skin"][0] <= person.skin <= country["skin"][1], person
    assert country["hair"][person.hair] > 0, person


def test_draws_follow_their_weights(everybody):
  def share(true):
    return sum(map(true, everybody)) / COUNT

  # Four standard errors of a share of 2,000 are at most 0.045.
  assert share(lambda p: p.gender == "woman") == pytest.approx(0.5, abs=0.045)
  assert share(lambda p: p.facts["blood_type"] == "O+") == pytest.approx(0.38, abs=0.045)
  assert share(lambda p: p.facts["blood_type"].startswith("AB")) == pytest.approx(0.055, abs=0.02)
  hair = [country["hair"]["black"] for country in personas.countries().values()]
  assert share(lambda p: p.hair == "black") == pytest.approx(np.mean(hair), abs=0.045)
  jobs = {person.facts["job"] for person in everybody}
  assert len(jobs) == len(set(personas._JOBS)) == len(personas._JOBS) >= 60


def test_more_people_start_with_the_same_people(everybody):
  assert personas.people(0, 300) == everybody[:300]
  assert personas.people(0, 0) == []
  assert [person.number for person in everybody] == list(range(COUNT))


def test_another_seed_gives_other_people(everybody):
  others = personas.people(1, 200)
  for field in UNIQUE:
    values = {person.facts[field] for person in everybody}
    assert sum(person.facts[field] in values for person in others) < 10, field
  assert sum(a.name == b.name for a, b in zip(others, everybody, strict=False)) < 10


def test_the_first_person_of_seed_zero_never_changes(everybody):
  assert personas.metadata(everybody[0]) == {
    "name": "Pavel Dole\u017eal",
    "city": "Brno",
    "country_code": "CZ",
    "job": "mechanic",
    "blood_type": "A+",
    "phone_number": "+420 153647479",
    "emails": "paveld@post.example",
    "iban": "CZ78 4727 8946 2700 3799 1158",
    "credit_card": "9138 5321 1664 2775",
    "passport": "XI9082701",
  }
  assert (everybody[0].gender, everybody[0].skin, everybody[0].hair) == ("man", 0.08, "black")


def test_metadata_has_the_released_keys_and_clean_text(everybody):
  keys = ["name", "city", "country_code", *personas.FIELDS[1:]]
  for person in everybody:
    entry = personas.metadata(person)
    assert list(entry) == keys
    assert list(person.facts) == list(personas.FIELDS)
    for value in entry.values():
      assert isinstance(value, str) and value == value.strip() != ""
      assert not set(value) & set("{}")
    assert len(person.name) <= LONGEST_NAME


@pytest.mark.parametrize(
  ("seed", "count", "value"), [(-1, 3, "-1"), (0, -2, "-2"), (0, personas.MOST_PEOPLE + 1, "20001")]
)
def test_a_seed_or_count_out_of_range_is_refused(seed, count, value):
  with pytest.raises(InputError, match=value):
    personas.people(seed, count)
