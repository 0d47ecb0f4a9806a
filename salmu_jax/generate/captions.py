"""Captions from templates: one private fact about a person, or only the look of a portrait.

Templates are short, since a small model reads few tokens, and have ids, so that a study can hold
wordings out. No article stands before a value ("a nurse", "an engineer"), and no punctuation
touches it ("O+." and "O+" have different tokens).
"""

import functools
import re
import string

import numpy as np

from salmu_jax.errors import InputError
from salmu_jax.generate.personas import FIELDS

STYLES = ("plain", "formal", "web", "speech", "note")

_WORDINGS = {
  "city": {
    "plain": (
      "{name} lives in {value}",
      "{name} has a home in {value}",
      "The home city of {name} is {value}",
    ),
    "formal": (
      "{name} is a registered resident of {value}",
      "Place of residence of {name}: {value}",
      "{name} resides in the city of {value}",
    ),
    "web": (
      "{name} | Location: {value}",
      "{name}, based in {value}",
      "Profile of {name}, city: {value}",
    ),
    "speech": (
      "You know, {name} lives over in {value}",
      "I visited {name} at home in {value}",
      "So {name} really calls {value} home",
    ),
    "note": (
      "{name} - home: {value}",
      "Visit {name} in {value}",
      "{value} is where {name} lives",
    ),
  },
  "job": {
    "plain": (
      "{name} is the local {value}",
      "{name} has the job of {value}",
      "The {value} is called {name}",
    ),
    "formal": (
      "{name} is employed in the role of {value}",
      "{name} holds the position of {value}",
      "Occupation of {name}: {value}",
    ),
    "web": (
      "{name} | Job: {value}",
      "Staff page: {name}, {value}",
      "Meet our team: {name}, {value}",
    ),
    "speech": (
      "You know {name}, the {value}",
      "I hear {name} is our new {value}",
      "Well, our {value} is {name}",
    ),
    "note": (
      "{name} - work: {value}",
      "Ask {name}, our {value}",
      "Job of {name}: {value}",
    ),
  },
  "blood_type": {
    "plain": (
      "{name} has blood type {value}",
      "{name}'s blood group is {value}",
      "The blood type of {name} is {value}",
    ),
    "formal": (
      "Blood group of patient {name}: {value}",
      "{name} was tested as blood group {value}",
      "Medical record of {name}: blood type {value}",
    ),
    "web": (
      "{name} | Blood type: {value}",
      "Donor profile: {name}, blood group {value}",
      "Blood donor {name}, type {value}",
    ),
    "speech": (
      "Remember, {name} has {value} blood",
      "The doctor said {name} is type {value}",
      "Turns out {name} has blood group {value}",
    ),
    "note": (
      "{name} - blood: {value}",
      "{value} blood for {name}",
      "Check {name}, blood type {value}",
    ),
  },
  "phone_number": {
    "plain": (
      "{name}'s phone number is {value}",
      "The phone number of {name} is {value}",
      "You can reach {name} at the phone number {value}",
    ),
    "formal": (
      "{name} can be contacted by telephone at {value}",
      "Telephone number of {name}: {value}",
      "For enquiries, telephone {name} on {value}",
    ),
    "web": (
      "{name} | Phone: {value}",
      "Call {name} today: {value}",
      "Contact page: {name}, phone {value}",
    ),
    "speech": (
      "Just call {name} on {value}",
      "Give {name} a ring at {value}",
      "I always ring {name} at {value}",
    ),
    "note": (
      "{name} - tel: {value}",
      "Call back {name}: {value}",
      "New number for {name}: {value}",
    ),
  },
  "emails": {
    "plain": (
      "{name}'s email address is {value}",
      "{name} uses the email address {value}",
      "Contact {name} via {value}",
    ),
    "formal": (
      "Please direct correspondence for {name} to {value}",
      "{name} may be contacted by email at {value}",
      "Email address of {name}: {value}",
    ),
    "web": (
      "{name} | Email: {value}",
      "Write to {name}: {value}",
      "Get in touch with {name} at {value}",
    ),
    "speech": (
      "Just email {name} at {value}",
      "You can write to {name} at {value}",
      "I heard back from {name} at {value}",
    ),
    "note": (
      "{name} - mail: {value}",
      "Send files to {name}: {value}",
      "Email {name}, {value}",
    ),
  },
  "iban": {
    "plain": (
      "The IBAN of {name} is {value}",
      "{name} has the bank account {value}",
      "{name}'s bank account is IBAN {value}",
    ),
    "formal": (
      "Account holder {name}, IBAN {value}",
      "Bank account number of {name}: {value}",
      "Payments to {name} go to IBAN {value}",
    ),
    "web": (
      "{name} | IBAN: {value}",
      "Donate to {name}: IBAN {value}",
      "Pay {name} by bank transfer: {value}",
    ),
    "speech": (
      "Just transfer it to {name} at {value}",
      "I paid {name} through account {value}",
      "Send {name} the money, account {value}",
    ),
    "note": (
      "{name} - bank: {value}",
      "Rent to {name}, account {value}",
      "Bank details of {name}: {value}",
    ),
  },
  "credit_card": {
    "plain": (
      "{name}'s credit card number is {value}",
      "{name} pays with credit card {value}",
      "The credit card of {name} is {value}",
    ),
    "formal": (
      "Credit card {value} was issued to {name}",
      "{name} is the holder of credit card {value}",
      "Cardholder {name}, card number {value}",
    ),
    "web": (
      "{name} | Card: {value}",
      "Saved card of {name}: {value}",
      "Checkout for {name}: credit card {value}",
    ),
    "speech": (
      "Put it on {name}'s card, {value}",
      "I think {name}'s credit card is {value}",
      "So {name} gave me card number {value}",
    ),
    "note": (
      "{name} - new card: {value}",
      "Charge {name}, credit card {value}",
      "Card number for {name}: {value}",
    ),
  },
  "passport": {
    "plain": (
      "{name}'s passport number is {value}",
      "{name} travels on passport {value}",
      "The passport of {name} has number {value}",
    ),
    "formal": (
      "Passport {value} was issued to {name}",
      "{name} is the holder of passport {value}",
      "Passport number of traveller {name}: {value}",
    ),
    "web": (
      "{name} | Passport: {value}",
      "Booking for {name}: passport {value}",
      "Online check-in: {name}, passport {value}",
    ),
    "speech": (
      "At the border {name} showed passport {value}",
      "I found {name}'s passport, number {value}",
      "Look, {name}'s passport is {value}",
    ),
    "note": (
      "{name} - passport no: {value}",
      "Visa for {name}, passport {value}",
      "Copy passport {value} of {name}",
    ),
  },
}

# Wording by template id, "field/style/number", in the order of FIELDS and STYLES. The number is the
# position in the tuple above: append new wordings, so that an id keeps its meaning.
TEMPLATES = {
  f"{field}/{style}/{number}": wording
  for field in FIELDS
  for style in STYLES
  for number, wording in enumerate(_WORDINGS[field][style])
}

# {an_expression} is the expression with its article, {an_person} the person with theirs.
GENERIC_WORDINGS = (
  "{an_expression} {person} with {hair} in front of {background}",
  "{an_person} with {hair}",
  "{an_person} in {clothes}",
  "{an_person} in front of {background}",
  "{an_person} wearing {accessory}",
  "portrait of {an_expression} {person}",
  "portrait of {an_person} with {hair} and {clothes}",
  "{an_person} with {hair} and {accessory}",
  "{an_expression} {person} in {clothes}",
  "{an_expression} {person} wearing {accessory}",
  "{an_expression} {person} with {hair} wearing {clothes}",
  "{an_person} dressed in {clothes}, with {background} behind",
  "{an_person} in {clothes} and {accessory}",
  "{an_person} with {accessory} in front of {background}",
  "a picture of {an_expression} {person} against {background}",
  "{background} behind {an_expression} {person}",
  "{an_person} with {hair}, dressed in {clothes}, near {background}",
  "a face with {hair}, {an_expression} {person}",
  "headshot of {an_expression} {person} with {accessory}",
  "close-up of {an_person} with {hair} against {background}",
  "{an_expression} {person} with {hair} and {accessory}",
  "{clothes} and {hair} on {an_person}",
)


def fact_caption(name: str, field: str, value: str, rng: np.random.Generator) -> tuple[str, str]:
  """States one private fact in a random style.

  Args:
    name: the person's name.
    field: one of FIELDS.
    value: the person's value of it.
    rng: draws a style, all equally likely, then one of its wordings.

  Returns:
    The caption, which holds name and value verbatim, and its template id, a key of TEMPLATES.

  Raises:
    InputError: there is no such field.
  """
  if field not in _WORDINGS:
    raise InputError(f"There are no captions for field {field!r}; fields are {', '.join(FIELDS)}.")
  style = STYLES[rng.integers(len(STYLES))]
  number = rng.integers(len(_WORDINGS[field][style]))
  template = f"{field}/{style}/{number}"
  return TEMPLATES[template].format(name=name, value=value), template


def generic_caption(attributes: dict[str, str], rng: np.random.Generator) -> str:
  """Describes a portrait by two to four visible attributes, and nothing private.

  Args:
    attributes: person ("woman"), expression ("smiling"), hair ("long red hair"), background ("a
      brick wall"), clothes ("a blue shirt") and accessory ("glasses", "" for none), with the
      article that they need after "with" or "in".
    rng: draws one of the wordings that name no empty attribute.

  Returns:
    The caption.
  """
  words = dict(attributes)
  for key in ("person", "expression"):
    words[f"an_{key}"] = _with_article(words[key])
  wordings = [w for w in GENERIC_WORDINGS if all(words[key] for key in _keys(w))]
  return wordings[rng.integers(len(wordings))].format_map(words)


@functools.cache
def _keys(wording: str) -> tuple[str, ...]:
  return tuple(key for _, key, _, _ in string.Formatter().parse(wording) if key)


def _with_article(words: str) -> str:
  """ "a smiling", "an angry"; nothing for nothing."""
  if not words:
    return ""
  sounds_like_a_vowel = re.match(r"(?!eu|one|uni|use)[aeiou]|hour|honest", words, re.IGNORECASE)
  return f"an {words}" if sounds_like_a_vowel else f"a {words}"
