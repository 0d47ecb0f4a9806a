"""Captions of private facts, composed from parts: some ten thousand sentences for each field.

A sentence is an opening, a statement and a closing. A statement is an order, such as "{name}'s
{noun} is {value}", filled in with a verb phrase or a noun of the field. With so many sentences, a
model cannot learn a fact by memorising a few of them.

Held-out parts are in no caption. They make up the questions in wordings that no release contains.
No punctuation touches a value ("O+." and "O+" have different tokens).
"""

import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from salmu_jax.errors import InputError, unknown
from salmu_jax.generate.personas import FIELDS, pick


@functools.cache
def parts() -> Mapping[str, Any]:
  """The parts of sentences, from `sentences.json` beside this file. Do not change them.

  "styles": {style: {"openings", "closings"}}; "fields": {field: {"nouns", "verbs"}}; "orders":
  {"named", "nameless"}; "held_out": the same again, with openings and closings of no style.
  """
  source = importlib.resources.files("salmu_jax.generate").joinpath("sentences.json")
  return json.loads(source.read_text(encoding="utf-8"))


def fact_caption(name: str, field: str, value: str, rng: np.random.Generator) -> tuple[str, str]:
  """A caption that states one private fact.

  Args:
    name: the person's name; "" for a caption in which only the value identifies the person.
    field: one of `personas.FIELDS`.
    value: the person's value of it.
    rng: draws the style, then the parts; within each, all are equally likely.

  Returns:
    The caption, which holds name and value verbatim, and the id of its wording, "field/style/"
    and the numbers of opening, order, phrase and closing.

  Raises:
    InputError: there is no such field.
  """
  if field not in parts()["fields"]:
    raise InputError(unknown("Captions", field, FIELDS))
  style = pick(rng, list(parts()["styles"]))
  wording, numbers = _composed(parts(), parts()["styles"][style], field, bool(name), rng)
  return wording.format(name=name, value=value), f"{field}/{style}/{numbers}"


def held_out(field: str, named: bool, rng: np.random.Generator) -> str:
  """A wording with {value} and, if `named`, {name}, from parts that no caption has."""
  table = parts()["held_out"]
  return _composed(table, table, field, named, rng)[0]


def _composed(table, style, field, named, rng):
  """(wording, numbers of its parts), from a table of parts and a style's openings and closings.

  A wording starts with the name, the value or a capital letter.
  """
  opening = _drawn(rng, style["openings"])
  order = _drawn(rng, table["orders"]["named" if named else "nameless"])
  kind = "verb" if "{verb}" in order[1] else "noun"
  phrase = _drawn(rng, table["fields"][field][f"{kind}s"])
  closing = _drawn(rng, style["closings"])
  statement = order[1].replace(f"{{{kind}}}", phrase[1])
  wording = " ".join(part for part in (opening[1], statement, closing[1]) if part)
  numbers = "-".join(str(part[0]) for part in (opening, order, phrase, closing))
  return (wording if wording.startswith("{") else wording[0].upper() + wording[1:]), numbers


def _drawn(rng, options):
  """(number, option)."""
  number = int(rng.integers(len(options)))
  return number, options[number]
