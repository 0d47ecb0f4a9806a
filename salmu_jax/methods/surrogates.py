"""Surrogate captions: made-up leaks that must not be forgotten, to hold the text tower in place.

An edit that moves one caption also moves the captions that resemble it. The forget captions are
enough to write captions like them: other fields of the same people, and the same field of other
people. Surrogates are made from rows of forget, from templates, and from a table of names. No
holdout is opened.

No surrogate states a fact of forget. It never states a field that forget holds for its person. If a
name is ambiguous or missing, the surrogate never has a value that forget holds.
"""

import functools
import re
from collections.abc import Callable, Iterable
from typing import Annotated, NamedTuple

import numpy as np

from salmu_jax import ranges
from salmu_jax.data.leaks import Leak, values_of
from salmu_jax.errors import InputError
from salmu_jax.generate import captions, personas, sentences
from salmu_jax.ranges import OneOf, Share

SOURCES = ("recombined", "generated", "both")
Source = Annotated[str, OneOf(SOURCES)]
# Made-up people, for their names and values. Their seed is drawn from this stream, so that they
# differ from the people of a release that was generated with the same seed.
_PEOPLE, _STREAM = 2000, 5
_COMPOSED = 15  # nameless sentences per field
_TRIES = 100
_WORDS = re.compile(r"\w+")


class Material(NamedTuple):
  """The parts that surrogates are made from.

  wordings: field -> sentences with {name} and {value}. nameless: field -> sentences with {value}
    alone, as far as forget has such captions. values: field -> values. given, family: names.
  """

  wordings: dict[str, list[str]]
  nameless: dict[str, list[str]]
  values: dict[str, list[str]]
  given: list[str]
  family: list[str]


class Maker(NamedTuple):
  """Draws captions.

  near: near(leak, count, rng) -> [count surrogates of a leak].
  reworded: reworded(leak, rng) -> the caption of the leak itself, its words loosened or not.

  Half of the surrogates state another field of the same person, one that must not be forgotten; if
  all fields must be, none do. The others state the same field of another person, who keeps it: a
  person of forget, a namesake of the leak's person, or a stranger.

  Surrogates of a nameless caption are nameless too. They state another value of its field, or
  another field.
  """

  near: Callable
  reworded: Callable


def maker(leaks: Iterable[Leak], source: Source, seed: int, reworded: Share = 0.0) -> Maker:
  """Returns a Maker of captions like the leaks.

  Args:
    leaks: all leaks to forget.
    source: one of SOURCES. "recombined" swaps the names and values of forget captions, whatever
      their wording; "generated" takes templates and made-up people; "both" pools the two.
    seed: of the made-up people.
    reworded: the share of captions, leaks and surrogates alike, whose words are loosened: some
      left out, others put in, often in another order, so that name and value count and not the
      sentence.

  Raises:
    InputError: the source is unknown, has no wordings for a field, or has no value or name outside
      forget where one is needed.
  """
  ranges.check(maker, {"source": source})
  leaks = list(leaks)
  material = _material(leaks, source, seed)
  fields = sorted(material.wordings)
  people: dict[str, set] = {name: set() for name in sorted({leak.name for leak in leaks})}
  for leak in leaks:
    people[leak.name].add(leak.identity)
  shared = {name for name, identities in people.items() if len(identities) > 1}
  by_value = bool(shared or any(map(_is_nameless, leaks)))
  if by_value:
    material = _untold(material, leaks, source)
  forgotten = {(leak.name, leak.field) for leak in leaks}
  stays = lambda name, field: name in shared or (name, field) not in forgotten
  kept = {name: [field for field in fields if stays(name, field)] for name in people}
  keepers = {f: [name for name in people if f in kept[name]] for f in fields}
  fillers = sorted({w for words in material.wordings.values() for s in words for w in _free(s)})
  world = _World(material, source, reworded, forgotten, kept, keepers, fillers, by_value)
  near = lambda leak, count, rng: [_surrogate(world, leak, rng) for _ in range(count)]
  return Maker(near, functools.partial(_reworded, world))


class _World(NamedTuple):
  """What a Maker draws from.

  forgotten: (name, field) of forget. kept: name -> fields of that person that stay.
  keepers: field -> names of forget that keep it. fillers: words to put in. by_value: whether a
    name may be ambiguous or missing; then `material` has no value that forget holds. The other
    fields are as in `maker`.
  """

  material: Material
  source: str
  reworded: float
  forgotten: set[tuple[str, str]]
  kept: dict[str, list[str]]
  keepers: dict[str, list[str]]
  fillers: list[str]
  by_value: bool


def _untold(material, leaks, source):
  """The material without the values that leaks state."""
  told = values_of(leaks)
  values = {
    field: [value for value in values if value not in told.get(field, ())]
    for field, values in material.values.items()
  }
  # A field may have none left, such as blood type with eight; other fields then replace it.
  if not any(values.values()):
    raise InputError(
      f"source = {source!r}: forget has nameless captions, or people who share a name, so "
      "surrogates need values that are not in forget, and this source has none. Take 'generated' "
      "or 'both'."
    )
  return material._replace(values=values)


def _surrogate(world, leak, rng):
  if _is_nameless(leak):
    return _nameless_surrogate(world, leak, rng)
  wordings, values = world.material.wordings, world.material.values
  others = [field for field in world.kept[leak.name] if values[field]]
  if others and rng.random() < 0.5:
    field = personas.pick(rng, others)
    value = personas.pick(rng, values[field])
    return _worded(world, personas.pick(rng, wordings[field]), leak.name, value, rng)
  name = _somebody_else(world, leak, rng)
  if world.source == "generated" or not _takes_apart(leak) or not values[leak.field]:
    field = _field(values, leak, rng)
    value = personas.pick(rng, values[field])
    return _worded(world, personas.pick(rng, wordings[field]), name, value, rng)
  # The closest caption: the same words about another person.
  own = not world.by_value and rng.random() < 0.5
  value = leak.value if own else personas.pick(rng, values[leak.field])
  return _worded(world, _wording(leak), name, value, rng)


def _nameless_surrogate(world, leak, rng):
  values, nameless = world.material.values, world.material.nameless
  field = _field(values, leak, rng)
  if rng.random() < 0.5:
    field = personas.pick(rng, [field for field in nameless if values[field]])
  value = personas.pick(rng, values[field])
  own = field == leak.field and world.source != "generated" and rng.random() < 0.5
  wording = _wording(leak) if own else personas.pick(rng, nameless[field])
  return _worded(world, wording, "", value, rng)


def _field(values, leak, rng):
  """The field of the leak, or another one if no value of it is left."""
  if values[leak.field]:
    return leak.field
  return personas.pick(rng, [field for field in values if values[field]])


def _somebody_else(world, leak, rng):
  """The name of a person who keeps the field of the leak."""
  given_names, family_names = world.material.given, world.material.family
  for _ in range(_TRIES):
    kind = rng.integers(3)
    if kind == 0 and world.keepers[leak.field]:
      return personas.pick(rng, world.keepers[leak.field])
    given, family = personas.pick(rng, given_names), personas.pick(rng, family_names)
    if kind == 1:
      own = _parts(leak.name)
      given, family = (own[0], family) if rng.random() < 0.5 else (given, own[1])
    name = " ".join(part for part in (given, family) if part)
    if (name, leak.field) not in world.forgotten:
      return name
  raise InputError(
    f"source = {world.source!r}: {_TRIES} tries found no name outside forget, which has only "
    f"{len(world.kept)} name(s) to recombine. Take source = 'generated'."
  )


def _worded(world, wording, name, value, rng):
  if world.reworded and rng.random() < world.reworded:
    wording = _loosened(wording, world.fillers, rng)
  return wording.replace("{value}", value).replace("{name}", name)


def _reworded(world, leak, rng):
  if not world.reworded or rng.random() >= world.reworded:
    return leak.text
  material = world.material
  wordings = material.nameless if _is_nameless(leak) else material.wordings
  wording = _loosened(personas.pick(rng, wordings[leak.field]), world.fillers, rng)
  return wording.replace("{value}", leak.value).replace("{name}", leak.name)


def _material(leaks, source, seed):
  pools = []
  if source != "generated":
    pools.append(_recombined(leaks))
  if source != "recombined":
    pools.append(_generated(seed))
  material = pools[0] if len(pools) == 1 else _together(*pools)
  lacking = sorted({leak.field for leak in leaks} - set(material.wordings))
  if lacking:
    raise InputError(
      f"source = {source!r} has no wordings for the field {lacking[0]!r}. 'recombined' has those "
      "of forget captions that hold name and value in full; 'generated' has those of "
      f"{', '.join(personas.FIELDS)}."
    )
  return material


def _together(a, b):
  either = lambda x, y: {f: [*x.get(f, []), *y.get(f, [])] for f in sorted(x.keys() | y.keys())}
  return Material(
    either(a.wordings, b.wordings),
    either(a.nameless, b.nameless),
    either(a.values, b.values),
    [*a.given, *b.given],
    [*a.family, *b.family],
  )


def _recombined(leaks):
  """Wordings, values and names of the forget captions that hold their value in full, with the name
  in full or without any part of it.
  """
  whole = [leak for leak in leaks if _takes_apart(leak)]
  nameless = [leak for leak in leaks if _is_nameless(leak)]
  fields = sorted({leak.field for leak in (*whole, *nameless)})
  parts = [_parts(name) for name in sorted({leak.name for leak in leaks})]
  return Material(
    {f: sorted({_wording(leak) for leak in whole if leak.field == f}) for f in fields},
    {f: sorted({_wording(leak) for leak in nameless if leak.field == f}) for f in fields},
    {f: sorted({leak.value for leak in (*whole, *nameless) if leak.field == f}) for f in fields},
    sorted({given for given, _ in parts}),
    sorted({family for _, family in parts}),
  )


# Cached: a run calls it when it is checked, and again for every stream of batches.
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
    {field: _composed(field, own) for field in personas.FIELDS},
    {field: [person.facts[field] for person in people] for field in personas.FIELDS},
    [given for given, _ in parts],
    [family for _, family in parts],
  )


def _composed(field, seed):
  """As many nameless sentences as the field has templates."""
  rng = np.random.default_rng([seed, personas.FIELDS.index(field)])
  return [sentences.fact_caption("", field, "{value}", rng)[0] for _ in range(_COMPOSED)]


def _takes_apart(leak):
  return (
    bool(leak.value) and leak.name in leak.text and leak.value in leak.text.replace(leak.name, "")
  )


def _is_nameless(leak):
  """Whether the caption states the value and no part of the name."""
  words = _WORDS.findall(leak.text)
  return (
    bool(leak.value) and leak.value in leak.text and not {*_WORDS.findall(leak.name)} & {*words}
  )


def _wording(leak):
  """The caption with {value} in its place, and {name}, if it has the name."""
  text = leak.text.replace(leak.name, "{name}") if leak.name else leak.text
  return text.replace(leak.value, "{value}")


def _free(wording):
  """The words of a wording, without those that hold the name or the value."""
  return [word for word in wording.split() if "{" not in word]


def _loosened(wording, fillers, rng):
  """A wording with half of its words left out, up to three others put in, and half the time in
  another order.
  """
  words = [word for word in wording.split() if "{" in word or rng.random() < 0.5]
  # Bare captions leave no word to put in.
  for _ in range(rng.integers(4) if fillers else 0):
    words.insert(int(rng.integers(len(words) + 1)), personas.pick(rng, fillers))
  return " ".join(rng.permutation(words) if rng.random() < 0.5 else words)


def _parts(name):
  """(given name, family name)."""
  given, _, family = name.partition(" ")
  return given, family
