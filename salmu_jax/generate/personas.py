"""Fictitious people: a name, a look and eight private facts, none of which fits a real person.

A telephone number starts with digits that its country's numbering plan does not assign. An IBAN
has wrong check digits. A card number starts with 9 and fails the Luhn check. An e-mail address
ends in the reserved `.example` (RFC 2606). All passport numbers have one made-up form.
Names, cities and telephone plans come from `countries.json` beside this file.
"""

import functools
import importlib.resources
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from salmu_jax.errors import InputError

FIELDS = (
  "city",
  "job",
  "blood_type",
  "phone_number",
  "emails",
  "iban",
  "credit_card",
  "passport",
)

# With more people, the unused names of a country become scarce.
MOST_PEOPLE = 20_000
# Longest e-mail address: a small text tower reads few tokens.
EMAIL_LENGTH = 24

GENDERS = ("woman", "man")
# Separates these draws from those of other modules under the same seed.
_TAG = 7301
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Approximate shares, in per cent, of a mixed world population.
_BLOOD_TYPES = {
  "O+": 38.0,
  "A+": 28.0,
  "B+": 20.0,
  "AB+": 5.0,
  "O-": 4.0,
  "A-": 3.0,
  "B-": 1.5,
  "AB-": 0.5,
}
_EMAIL_DOMAINS = (
  "mailhub.example",
  "mail.example",
  "post.example",
  "inbox.example",
  "letter.example",
  "nimbus.example",
  "corvo.example",
  "webpost.example",
)
_JOBS = (
  "accountant, actor, architect, astronomer, baker, barber, beekeeper, biologist, "
  "bookbinder, bricklayer, bus driver, butcher, carpenter, chef, chemist, dancer, cobbler, "
  "dentist, economist, editor, electrician, engineer, farmer, florist, firefighter, "
  "gardener, geologist, glassblower, goldsmith, historian, interpreter, jeweller, "
  "journalist, judge, lawyer, librarian, locksmith, mathematician, miner, mechanic, midwife, "
  "musician, notary, nurse, optician, painter, paramedic, pharmacist, photographer, "
  "physicist, pilot, plumber, potter, roofer, sailor, sculptor, surgeon, surveyor, tailor, "
  "teacher, translator, vet, weaver, welder"
).split(", ")
# Letters that Unicode does not decompose into an ASCII letter and a mark: o with stroke, l with
# stroke, d with stroke, eth, thorn, sharp s, ae, dotless i.
_ASCII = {
  0x00F8: "o",
  0x0142: "l",
  0x0111: "d",
  0x00F0: "d",
  0x00FE: "th",
  0x00DF: "ss",
  0x00E6: "ae",
  0x0131: "i",
}


class Person(NamedTuple):
  """One fictitious person.

  Attributes:
    number: index of the person, from 0.
    name: given name and family name, unique among all people of a seed.
    gender: "woman" or "man"; decides the given name and the portrait.
    country_code: ISO 3166-1 alpha-2.
    skin: 0 (very light) to 1 (very dark), from the country's prior.
    hair: "black", "brown", "blond", "red" or "grey", from the country's prior.
    facts: {field: value} for all of `FIELDS`.
  """

  number: int
  name: str
  gender: str
  country_code: str
  skin: float
  hair: str
  facts: dict[str, str]


@functools.cache
def countries() -> Mapping[str, Mapping]:
  """The table of countries, {ISO 3166-1 alpha-2 code: entry}. Do not change it.

  An entry has `name`, `dial` (country calling code), `nsn_len` (digits after it),
  `fictitious_prefixes` (first digits that no real number has), `bban` (the account part of an
  IBAN in the notation of the SWIFT registry) and `iban_len`; `given_f`, `given_m`, `family` and
  `cities`; `family_f`, where women's family names differ, in the order of `family`; `skin` (low,
  high) and `hair` (weights that sum to one).
  """
  source = importlib.resources.files("salmu_jax.generate").joinpath("countries.json")
  return json.loads(source.read_text(encoding="utf-8"))


def people(seed: int, count: int, namesakes: int = 1) -> list[Person]:
  """Draws people 0 to count - 1 of a seed.

  People are drawn in order, each from a generator of their own, so a longer list starts with the
  shorter one. A value that an earlier person has is drawn again from the same generator.

  Args:
    seed: at least 0.
    count: number of people, 0 to `MOST_PEOPLE`.
    namesakes: number of people that share a name, and with it a country.

  Returns:
    People with unique phone_number, emails, iban, credit_card and passport; names are unique too
    unless there are namesakes.

  Raises:
    InputError: seed or count is out of range.
  """
  if seed < 0:
    raise InputError(f"The seed of the people is {seed}; it must be 0 or more.")
  if not 0 <= count <= MOST_PEOPLE:
    raise InputError(
      f"{count} people were requested; the table of names has room for 0 to {MOST_PEOPLE}."
    )
  taken = {kind: set() for kind in ("name", *FIELDS)}
  waiting = {gender: [] for gender in GENDERS}
  return [
    _person(np.random.default_rng([seed, _TAG, n]), n, taken, waiting, namesakes)
    for n in range(count)
  ]


def metadata(person: Person) -> dict[str, str]:
  """The person's entry in a release's `identities_metadata.json`.

  Returns:
    name, city, country_code, job, blood_type, phone_number, emails, iban, credit_card and
    passport, in this order.
  """
  facts = {field: person.facts[field] for field in FIELDS}
  entry = {"name": person.name, "city": facts.pop("city"), "country_code": person.country_code}
  return entry | facts


def _person(rng, number, taken, waiting, namesakes):
  """Draws one person; adds the person's values to `taken`, {kind of value: values in use}.

  waiting: {gender: [(country, names) for each namesake that a name still waits for]}.
  """
  code, gender = pick(rng, list(countries())), pick(rng, GENDERS)
  country = countries()[code]
  if waiting[gender]:
    code, (given, family) = waiting[gender].pop()
    country = countries()[code]
  else:
    given, family = _unused(taken["name"], lambda: _names(rng, country, gender))
    waiting[gender] = [(code, (given, family))] * (namesakes - 1)
  facts = {
    "city": pick(rng, country["cities"]),
    "job": pick(rng, _JOBS),
    "blood_type": _weighted(rng, _BLOOD_TYPES),
    "phone_number": _unused(taken["phone_number"], lambda: _phone_number(rng, country)),
    "emails": _unused(taken["emails"], lambda: _email(rng, given, family)),
    "iban": _unused(taken["iban"], lambda: _iban(rng, code, country["bban"])),
    "credit_card": _unused(taken["credit_card"], lambda: _credit_card(rng)),
    "passport": _unused(taken["passport"], lambda: f"X{pick(rng, _UPPER)}{_digits(rng, 7)}"),
  }
  low, high = country["skin"]
  skin = round(low + (high - low) * float(rng.random()), 3)
  name = f"{given} {family}"
  return Person(number, name, gender, code, skin, _weighted(rng, country["hair"]), facts)


def _unused(used, draw):
  """Draws until the value is not in `used`, then adds it there."""
  while (value := draw()) in used:
    pass
  used.add(value)
  return value


def pick(rng: np.random.Generator, values: Sequence[Any]) -> Any:
  """A member of a sequence, all equally likely."""
  return values[int(rng.integers(len(values)))]


def _weighted(rng, weights):
  """A key of {key: weight}, by weight; the weights need not sum to one."""
  bounds = np.cumsum(list(weights.values()))
  index = int(np.searchsorted(bounds, bounds[-1] * rng.random(), side="right"))
  return list(weights)[index]


def _digits(rng, count):
  return "".join(map(str, rng.integers(10, size=count)))


def _names(rng, country, gender):
  """Returns (given name, family name)."""
  if gender == "woman":
    return pick(rng, country["given_f"]), pick(rng, country.get("family_f", country["family"]))
  return pick(rng, country["given_m"]), pick(rng, country["family"])


def _phone_number(rng, country):
  prefix = pick(rng, country["fictitious_prefixes"])
  return f"+{country['dial']} {prefix}{_digits(rng, country['nsn_len'] - len(prefix))}"


def _ascii(name):
  """The name in the letters a to z: without marks, spaces, hyphens and apostrophes."""
  plain = unicodedata.normalize("NFKD", name.lower()).translate(_ASCII)
  return re.sub("[^a-z]", "", plain)


def _email(rng, given, family):
  """An address from the name, at most `EMAIL_LENGTH` long, at a domain that cannot exist."""
  given, family = _ascii(given), _ascii(family)
  stem = pick(rng, (given[0] + family, family + given[0], given + family[0], given + family))
  suffix = pick(rng, ("", str(rng.integers(10, 100))))
  domain = pick(rng, _EMAIL_DOMAINS)
  room = EMAIL_LENGTH - len(f"{suffix}@{domain}")
  return f"{stem[:room]}{suffix}@{domain}"


def _iban(rng, code, pattern):
  """An IBAN (ISO 13616) of the right form whose check digits are wrong, in groups of four."""
  account = "".join(
    _iban_character(rng, kind)
    for length, kind in re.findall(r"(\d+)!([nac])", pattern)
    for _ in range(int(length))
  )
  remainder = int("".join(str(int(c, 36)) for c in f"{account}{code}00")) % 97
  right = 98 - remainder
  # Check digits run from 02 to 98, and each has another remainder, so all but one are wrong.
  wrong = (right - 2 + int(rng.integers(1, 97))) % 97 + 2
  return _fours(f"{code}{wrong:02d}{account}")


def _iban_character(rng, kind):
  """A character of a SWIFT class: n digit, a letter, c either (mostly digits, as banks do)."""
  letter = kind == "a" or (kind == "c" and rng.random() < 0.1)
  return pick(rng, _UPPER if letter else "0123456789")


def _credit_card(rng):
  """16 digits that start with 9 and fail the Luhn check (ISO/IEC 7812)."""
  body = "9" + _digits(rng, 14)
  doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in body[::2])
  right = -(doubled + sum(map(int, body[1::2]))) % 10
  return _fours(f"{body}{(right + int(rng.integers(1, 10))) % 10}")


def _fours(text):
  """The text in groups of four characters."""
  return " ".join(text[start : start + 4] for start in range(0, len(text), 4))
