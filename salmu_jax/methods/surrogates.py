"""Surrogate captions: made-up leaks that nobody asked to forget, for holding what is near a leak in
place.

An edit that moves one caption moves all that resemble it. Whoever has the forget captions can write
down what resembles them: other fields of the same people, and the same field of other people. That
is all there is here: everything is made from rows of forget, from templates, and from a table of
names. No holdout is opened, and no surrogate is of a person and a field of theirs that forget has.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from salmu_jax.data import releases
from salmu_jax.errors import InputError
from salmu_jax.generate import captions, personas

SOURCES = ("recombined", "generated", "both")
# People who are made up for their names and values. Their seed is drawn from this stream, so that
# they are not the people of a release that was generated with the same seed.
_PEOPLE, _STREAM = 2000, 5
_TRIES = 100


class Leak(NamedTuple):
  """What a row of forget tells: of whom, which field of theirs, its value, and in which words."""

  name: str
  field: str
  value: str
  text: str


class Material(NamedTuple):
  """What surrogates are put together from: wordings and values by field; given and family names."""

  wordings: dict
  values: dict
  given: list
  family: list


class Maker(NamedTuple):
  """near(leak, count, rng) -> [count surrogates of a leak]; said(leak, rng) -> the caption of the
  leak itself.

  Half of the surrogates are of the same person, in a field of theirs that is not to be forgotten;
  none, where all are. The others are of the same field, and of somebody whose is not to be
  forgotten: a person of forget, somebody who shares a name with the person of the leak, or a
    stranger.
  """

  near: Callable
  said: Callable


def leaks(release, rows):
  """{file name: Leak} of rows of forget.

  Args:
    release: an opened release, of whose metadata only what the rows name is looked at.
    rows: dicts with `file_name`, `identity_id` and `text`, as strings or bytes.
  """
  out = {}
  for row in rows:
    file_name, identity, text = (_text(row[k]) for k in ("file_name", "identity_id", "text"))
    out[file_name] = Leak(*releases.leak(release, identity, file_name, text), text)
  return out


def maker(known, source, seed, reworded=0.0):
  """Returns a Maker of what is like the leaks.

  Args:
    known: the Leaks, all that are to be forgotten.
    source: a key of SOURCES. "recombined" swaps the names and values of forget captions, whatever
      their wording; "generated" takes templates and made-up people; "both" throws these and those
      together.
    seed: of the made-up people.
    reworded: the share of all captions, of leaks and surrogates alike, whose words are loosened:
      some left out, others put in, often in another order, so that it is name and value that count
      and no sentence.

  Raises:
    InputError: an unknown source, or rows that cannot be taken apart: names the reason.
  """
  if source not in SOURCES:
    raise InputError(f"source = {source!r}; it must be one of {', '.join(SOURCES)}.")
  known = list(known)
  asked = {(leak.name, leak.field) for leak in known}
  names = sorted({leak.name for leak in known})
  material = _material(known, source, seed)
  fields = sorted(material.wordings)
  kept = {name: [f for f in fields if (name, f) not in asked] for name in names}
  keepers = {f: [name for name in names if f in kept[name]] for f in fields}
  fillers = sorted({w for words in material.wordings.values() for s in words for w in _free(s)})
  world = _World(material, source, reworded, asked, kept, keepers, fillers)
  near = lambda leak, count, rng: [_surrogate(world, leak, rng) for _ in range(count)]
  return Maker(near, functools.partial(_said, world))


class _World(NamedTuple):
  """What a Maker draws from. asked: (name, field) of forget. kept: name -> fields of theirs that
  stay; keepers: field ->
  names of forget that keep it. fillers: words to put in. The others as `maker` has them."""

  material: Material
  source: str
  reworded: float
  asked: set
  kept: dict
  keepers: dict
  fillers: list


def _surrogate(world, leak, rng):
  wordings, values = world.material.wordings, world.material.values
  if world.kept[leak.name] and rng.random() < 0.5:
    field = _pick(world.kept[leak.name], rng)
    value = _pick(values[field], rng)
    return _worded(world, _pick(wordings[field], rng), leak.name, value, rng)
  name = _somebody_else(world, leak, rng)
  if world.source == "generated" or not _takes_apart(leak):
    value = _pick(values[leak.field], rng)
    return _worded(world, _pick(wordings[leak.field], rng), name, value, rng)
  # The closest there is: the same words about another person.
  value = leak.value if rng.random() < 0.5 else _pick(values[leak.field], rng)
  return _worded(world, _wording(leak), name, value, rng)


def _somebody_else(world, leak, rng):
  """The name of somebody whose field of the leak is not to be forgotten."""
  given_names, family_names = world.material.given, world.material.family
  for _ in range(_TRIES):
    kind = rng.integers(3)
    if kind == 0 and world.keepers[leak.field]:
      return _pick(world.keepers[leak.field], rng)
    given, family = _pick(given_names, rng), _pick(family_names, rng)
    if kind == 1:
      own = _parts(leak.name)
      given, family = (own[0], family) if rng.random() < 0.5 else (given, own[1])
    name = " ".join(part for part in (given, family) if part)
    if (name, leak.field) not in world.asked:
      return name
  raise InputError(
    f"source = {world.source!r}: no name was found that is not in forget, after {_TRIES} tries, "
    f"for forget has {len(world.kept)} name(s) to recombine. Take source = 'generated'."
  )


def _worded(world, wording, name, value, rng):
  if world.reworded and rng.random() < world.reworded:
    wording = _loosened(wording, world.fillers, rng)
  return wording.replace("{value}", value).replace("{name}", name)


def _said(world, leak, rng):
  if not world.reworded or rng.random() >= world.reworded:
    return leak.text
  wording = _loosened(_pick(world.material.wordings[leak.field], rng), world.fillers, rng)
  return wording.replace("{value}", leak.value).replace("{name}", leak.name)


def _material(known, source, seed):
  out = []
  if source != "generated":
    out.append(_recombined(known))
  if source != "recombined":
    out.append(_generated(seed))
  material = out[0] if len(out) == 1 else _together(*out)
  lacking = sorted({leak.field for leak in known} - set(material.wordings))
  if lacking:
    raise InputError(
      f"source = {source!r}: there are no wordings for the field {lacking[0]!r}. Where forget "
      "captions hold name and value in full, 'recombined' has them; 'generated' has those of "
      f"{', '.join(personas.FIELDS)}."
    )
  return material


def _together(a, b):
  either = lambda x, y: {f: [*x.get(f, []), *y.get(f, [])] for f in sorted(x.keys() | y.keys())}
  return Material(
    either(a.wordings, b.wordings),
    either(a.values, b.values),
    [*a.given, *b.given],
    [*a.family, *b.family],
  )


def _recombined(known):
  """Wordings, values and names of the forget captions that hold name and value in full."""
  whole = [leak for leak in known if _takes_apart(leak)]
  fields = sorted({leak.field for leak in whole})
  parts = [_parts(name) for name in sorted({leak.name for leak in known})]
  return Material(
    {f: sorted({_wording(leak) for leak in whole if leak.field == f}) for f in fields},
    {f: sorted({leak.value for leak in whole if leak.field == f}) for f in fields},
    sorted({given for given, _ in parts}),
    sorted({family for _, family in parts}),
  )


# A run makes them when it is checked, and again for every stream of batches.
@functools.cache
def _generated(seed):
  own = int(np.random.default_rng([seed, _STREAM]).integers(2**31, 2**32))
  people = personas.people(own, _PEOPLE)
  parts = [_parts(person.name) for person in people]
  of = lambda field: [
    words for key, words in captions.TEMPLATES.items() if key.startswith(f"{field}/")
  ]
  return Material(
    {field: of(field) for field in personas.FIELDS},
    {field: [person.facts[field] for person in people] for field in personas.FIELDS},
    [given for given, _ in parts],
    [family for _, family in parts],
  )


def _takes_apart(leak):
  return (
    bool(leak.value) and leak.name in leak.text and leak.value in leak.text.replace(leak.name, "")
  )


def _wording(leak):
  """The caption with {name} and {value} in their places."""
  return leak.text.replace(leak.name, "{name}").replace(leak.value, "{value}")


def _free(wording):
  """The words of a wording but those that name or value are in."""
  return [word for word in wording.split() if "{" not in word]


def _loosened(wording, fillers, rng):
  """A wording with half of its words left out, up to three others put in, and half the time in
  another order.
  """
  words = [word for word in wording.split() if "{" in word or rng.random() < 0.5]
  # Bare captions leave no word to put in.
  for _ in range(rng.integers(4) if fillers else 0):
    words.insert(int(rng.integers(len(words) + 1)), _pick(fillers, rng))
  return " ".join(rng.permutation(words) if rng.random() < 0.5 else words)


def _parts(name):
  """(given name, the rest)."""
  given, _, family = name.partition(" ")
  return given, family


def _pick(values, rng):
  return values[int(rng.integers(len(values)))]


def _text(value):
  return value.decode() if isinstance(value, bytes) else str(value)
