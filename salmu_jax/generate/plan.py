"""The rows of a release without pixels: people, their splits, images and captions."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from salmu_jax import errors, fields
from salmu_jax.errors import InputError
from salmu_jax.generate import captions, personas, portraits, scenes, sentences
from salmu_jax.generate.looks import Identity
from salmu_jax.generate.personas import Person
from salmu_jax.ranges import OneOf, Range, Whole

# Captions of facts come from one of fifteen templates of the field, or are composed from parts.
WORDINGS = ("templates", "composed")
_NUISANCE = Range(0, 2)
# Valid values of the fields of `config.generate`.
RANGES = {
  "people": Whole(8, 10**8 - 1),  # file names have eight digits
  "images_per_person": Whole(len(personas.FIELDS), 1000),
  "retain_synth": Whole(11),
  "retain_joint": Whole(1),
  "scenes": Whole(1, 10**8),
  "classes": Whole(2, scenes.CLASS_LIMIT),
  "zero_shot_images": Whole(1, 1000),
  "image_size": Whole(16, 4096),
  "holdout_unit": OneOf(("fact", "pair")),
  "namesakes": Whole(1),
  "wordings": OneOf(WORDINGS),
  "nameless": Range(0, 1),
  "portrait_nuisance": _NUISANCE,
  "scene_nuisance": _NUISANCE,
  "shard_rows": Whole(1),
  "workers": Whole(1, 1024),
}
ASPECTS = (0.8, 1.0, 1.25)
# Streams of randomness: one generator per (seed, stream, ...), so that no draw depends on another.
_GROUPS, _FACTS, _ROWS, _GENERIC = 1, 2, 3, 4


class Row(NamedTuple):
  """One picture of one person, and its captions.

  Attributes:
    person: index into the identities.
    image: number of the picture among those of the person.
    aspect: width / height.
    file_name: of the picture.
    identity_id: 8 digits, or None for people outside `sensitive`.
    text: the caption of the row.
    generic: a caption without private values.
    field: the private field that `text` leaks, None for a generic caption.
    value: of that field.
    template: id of the wording, from `captions.fact_caption` or `sentences.fact_caption`.
  """

  person: int
  image: int
  aspect: float
  file_name: str
  identity_id: str | None
  text: str
  generic: str
  field: str | None = None
  value: str | None = None
  template: str | None = None


class Cast(NamedTuple):
  """All people of a release.

  Attributes:
    people: those of `sensitive` first.
    identities: their looks.
    groups: person -> "forget_identity", "holdout_identity" or "association".
    held_facts: (person, field) that are held out of forget.
  """

  people: Sequence[Person]
  identities: Sequence[Identity]
  groups: Mapping[int, str]
  held_facts: frozenset[tuple[int, str]]


def draw_cast(settings: ConfigDict, seed: int) -> Cast:
  """Draws the people of a release; settings is `config.generate`."""
  others = max(1, (settings.retain_synth - settings.retain_joint) // 5)
  people = personas.people(seed, settings.people + others, settings.namesakes)
  looks = portraits.identities(seed, [(p.gender, p.skin, p.hair) for p in people])
  order = np.random.default_rng([seed, _GROUPS]).permutation(settings.people)
  quarter = settings.people // 4
  groups = {int(person): "association" for person in order}
  groups |= {int(person): "forget_identity" for person in order[:quarter]}
  groups |= {int(person): "holdout_identity" for person in order[quarter : 2 * quarter]}
  held = set()
  for person in range(settings.people):
    first = np.random.default_rng([seed, _FACTS, person]).permutation(personas.FIELDS)
    held |= {(person, str(field)) for field in first[: len(first) // 2]}
  return Cast(people, looks, groups, frozenset(held))


def sensitive_rows(settings: ConfigDict, seed: int, cast: Cast) -> list[Row]:
  """The leaks: every person's pictures, each with one wording of one fact."""
  rows = []
  for person in range(settings.people):
    name, facts = cast.people[person].name, cast.people[person].facts
    start = int(np.random.default_rng([seed, _FACTS, person, 1]).integers(len(personas.FIELDS)))
    for image in range(settings.images_per_person):
      field = personas.FIELDS[(start + image) % len(personas.FIELDS)]
      rng = np.random.default_rng([seed, _ROWS, person, image])
      text, template = _fact_caption(settings, name, field, facts[field], rng)
      row = _generic_row(settings, seed, cast, person, image, f"{person:08d}")
      rows.append(row._replace(text=text, field=field, value=facts[field], template=template))
  return rows


def _fact_caption(settings, name, field, value, rng):
  """(caption, id of its wording) of a fact."""
  if settings.wordings == "templates":
    return captions.fact_caption(name, field, value, rng)
  named = rng.random() >= settings.nameless
  return sentences.fact_caption(name if named else "", field, value, rng)


def retain_rows(settings: ConfigDict, seed: int, cast: Cast) -> list[Row]:
  """Generic captions: first of people in forget, then of people in no sensitive split."""
  forgotten = [p for p in sorted(cast.groups) if cast.groups[p] != "holdout_identity"]
  rows = []
  for number in range(settings.retain_joint):
    person, turn = forgotten[number % len(forgotten)], number // len(forgotten)
    image = settings.images_per_person + turn
    rows.append(_generic_row(settings, seed, cast, person, image, f"{person:08d}"))
  others = range(settings.people, len(cast.people))
  for number in range(settings.retain_synth - settings.retain_joint):
    person, image = others[number % len(others)], number // len(others)
    rows.append(_generic_row(settings, seed, cast, person, image, None))
  return rows


def split_of(settings: ConfigDict, seed: int, cast: Cast, row: Row) -> str:
  """The benchmark split of a sensitive row.

  With the holdout unit "fact", whole (person, field) facts of a partly forgotten person are held
  out; with "pair", single rows are, as in the released data.
  """
  group = cast.groups[row.person]
  if group == "forget_identity":
    return "forget"
  if group == "holdout_identity":
    return "holdout_identity"
  if settings.holdout_unit == "fact":
    held = (row.person, row.field) in cast.held_facts
  else:
    held = np.random.default_rng([seed, _ROWS, row.person, row.image, 1]).random() < 0.5
  return "holdout_association" if held else "forget"


def _generic_row(settings, seed, cast, person, image, identity_id):
  rng = np.random.default_rng([seed, _GENERIC, person, image])
  aspect = ASPECTS[int(rng.integers(len(ASPECTS)))]
  look = portraits.nuisance(seed, person, image, strength=settings.portrait_nuisance)
  visible = portraits.attributes(cast.identities[person], look)
  text = captions.generic_caption(visible, rng)
  name = f"{person:08d}_{image:03d}_ar-{aspect:.2f}.jpg"
  return Row(person, image, aspect, name, identity_id, text, text)


def check(settings: ConfigDict) -> tuple[str, ...]:
  """Checks `config.generate`, and returns the names of the classes.

  Raises:
    InputError: the settings are impossible.
  """
  fields.check(settings, settings, RANGES, "config.generate")
  errors.refuse(errors.found((lambda: _check_rows(settings), lambda: _check_wordings(settings))))
  return scenes.classes(settings.classes)


def _check_rows(settings):
  """Raises InputError for inconsistent numbers of rows."""
  least = settings.retain_joint + 10
  if settings.retain_synth < least:
    raise InputError(
      f"config.generate.retain_synth = {settings.retain_synth} is too small: it must be at least "
      f"{least}, ten more than retain_joint."
    )
  forgotten = settings.people - settings.people // 4
  if settings.images_per_person + -(-settings.retain_joint // forgotten) > 1000:
    raise InputError(
      f"config.generate.images_per_person = {settings.images_per_person} and retain_joint give "
      "a person more than 1,000 images, which file names with three digits cannot number."
    )


def _check_wordings(settings):
  """Raises InputError for captions that the wordings cannot express."""
  if settings.nameless and settings.wordings == "templates":
    raise InputError(
      f"config.generate.nameless = {settings.nameless!r}, but all templates hold the name. Set it "
      "to 0, or config.generate.wordings to 'composed'."
    )
