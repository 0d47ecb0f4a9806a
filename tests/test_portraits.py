"""Portraits: the same seed gives the same picture, and a picture identifies its person."""

import numpy as np
import pytest

from salmu_jax.errors import InputError
from salmu_jax.generate import backdrops, faces, geometry, hair, portraits

COLOURS = tuple(faces.HAIRS)
PRIORS = [(("woman", "man")[k % 2], (k * 7 % 11) / 10, COLOURS[k % 5]) for k in range(300)]
PEOPLE = portraits.identities(5, PRIORS)


def pixels(person, image, size=32, strength=1.0):
  look = portraits.nuisance(5, person, image, strength=strength)
  return np.asarray(portraits.render(PEOPLE[person], look, size, size), np.float32)


def test_the_same_arguments_give_the_same_bytes():
  for image in range(4):
    first, second = (
      portraits.render(
        portraits.identities(5, PRIORS[:9])[8], portraits.nuisance(5, 8, image), 64, 64
      )
      for _ in range(2)
    )
    assert first.tobytes() == second.tobytes()


def test_drawing_other_portraits_between_does_not_change_a_portrait():
  before = pixels(3, 1)
  pixels(4, 1)
  np.testing.assert_array_equal(pixels(3, 1), before)


def test_the_first_people_do_not_depend_on_how_many_follow():
  for few, many in zip(portraits.identities(5, PRIORS[:40]), PEOPLE, strict=False):
    np.testing.assert_array_equal(few.shape, many.shape)
    assert few[1:] == many[1:]


def test_a_person_does_not_depend_on_the_priors_of_others():
  changed = [("man", 0.5, "grey"), *PRIORS[1:10]]
  for person, same_person in zip(portraits.identities(5, changed)[1:], PEOPLE[1:10], strict=True):
    np.testing.assert_array_equal(person.shape, same_person.shape)


def nearest_pair(people):
  traits = np.stack([p.shape for p in people]) * np.sqrt(3)
  gaps = np.linalg.norm(traits[:, None] - traits[None], axis=-1)
  return gaps[np.triu_indices(len(people), 1)].min()


def test_no_two_people_are_closer_than_the_threshold():
  assert nearest_pair(PEOPLE) >= portraits.MIN_DISTANCE


def test_people_too_alike_are_drawn_again(monkeypatch):
  assert nearest_pair(PEOPLE[:100]) < 7.0
  monkeypatch.setattr(portraits, "MIN_DISTANCE", 7.0)
  assert nearest_pair(portraits.identities(5, PRIORS[:100])) >= 7.0


def test_people_follow_their_priors():
  skin = portraits.NAMES.index("skin")
  for person, (gender, tone, colour) in zip(PEOPLE, PRIORS, strict=True):
    assert (person.gender, person.hair) == (gender, colour)
    assert abs((person.shape[skin] + 1) / 2 - tone) <= 0.051
    assert person.hair_style in portraits.HAIR_STYLES[gender]
    assert gender == "man" or not person.facial_hair


def test_darker_priors_give_darker_faces():
  pale, deep = (
    portraits.identities(0, [("man", 0.0, "black")]),
    portraits.identities(0, [("man", 1.0, "black")]),
  )
  look = portraits.nuisance(0, 0, 0, strength=0.0)
  centre = [
    np.asarray(portraits.render(p[0], look, 64, 64), float)[26:40, 24:40].mean()
    for p in (pale, deep)
  ]
  assert centre[0] > centre[1] + 60


@pytest.mark.parametrize(
  "size", [(64, 64), (64, 96), (224, 224), (170, 512), (192, 64), (64, 194), (16, 48)]
)
def test_a_portrait_has_the_size_and_mode_that_were_asked_for(size):
  picture = portraits.render(PEOPLE[0], portraits.nuisance(5, 0, 0), *size)
  assert (picture.size, picture.mode) == (size, "RGB")


@pytest.mark.parametrize(("width", "height"), [(64, 96), (96, 64), (64, 192)])
def test_the_head_lies_in_the_central_square(width, height):
  look = portraits.nuisance(5, 0, 0, strength=0.0)._replace(background="plain")
  look = look._replace(background_colour="blue")
  bald = PEOPLE[0]._replace(hair_style="bald")
  dark, pale = (
    np.asarray(
      portraits.render(bald._replace(shape=skin_set_to(bald, v)), look, width, height), int
    )
    for v in (-1.0, 1.0)
  )
  rows, columns = np.nonzero(np.abs(dark - pale).sum(axis=2) > 30)
  side = min(width, height)
  assert len(rows) > 0.1 * side**2
  for positions, length in ((rows, height), (columns, width)):
    low, high = (length - side) / 2, (length + side) / 2
    assert low <= positions.min() <= positions.max() < high
    assert abs(positions.mean() - length / 2) < 0.12 * side


def skin_set_to(person, value):
  shape = person.shape.copy()
  shape[portraits.NAMES.index("skin")] = value
  return shape


def test_every_field_of_a_nuisance_that_is_drawn_changes_the_picture():
  base = portraits.nuisance(5, 1, 0, strength=0.0)._replace(background="plain")
  base = base._replace(background_colour="blue", clothes_colour="red", hat_colour="green")
  picture = portraits.render(PEOPLE[1], base, 64, 64).tobytes()
  changes = dict(
    yaw=0.4, pitch=0.2, roll=0.2, zoom=1.08, shift_x=0.05, shift_y=0.03, smile=-0.4,
    mouth_open=0.9, brows=0.8, frown=0.6, eyes=0.5, gaze_x=1.0, light_x=0.8, light_y=-0.3,
    exposure=0.15, warmth=0.1, background="bricks", background_colour="green",
    clothes=(base.clothes + 1) % 6, clothes_colour="blue", hat="beanie", sunglasses=True,
    blur=0.01, noise=5.0,
  )  # fmt: skip
  for field, value in changes.items():
    changed = portraits.render(PEOPLE[1], base._replace(**{field: value}), 64, 64).tobytes()
    assert changed != picture, field


def test_every_hair_style_looks_different_and_every_hat_covers_it():
  look = portraits.nuisance(5, 0, 0, strength=0.0)
  bare = set()
  for style in hair.STYLES:
    person = PEOPLE[1]._replace(hair_style=style)
    pictures = {
      portraits.render(person, look._replace(hat=hat), 32, 32).tobytes()
      for hat in ("", *portraits.HATS)
    }
    assert len(pictures) == 1 + len(portraits.HATS), style
    bare.add(portraits.render(person, look, 32, 32).tobytes())
  assert len(bare) == len(hair.STYLES)


@pytest.mark.parametrize("gender", portraits.GENDERS)
def test_garments_of_other_names_look_different(gender):
  person = next(p for p in PEOPLE if p.gender == gender and p.hair_style in ("bun", "short"))
  look = portraits.nuisance(5, 0, 0, strength=0.0)
  pictures = {
    kind: portraits.render(person, look._replace(clothes=slot), 64, 64).tobytes()
    for slot, kind in enumerate(portraits.WARDROBE[gender])
  }
  assert len(set(pictures.values())) == len(pictures)


def test_every_backdrop_colour_and_beard_looks_different():
  look = portraits.nuisance(5, 0, 0, strength=0.0)
  looks = [
    look._replace(background=family, background_colour=colour)
    for family, (_, colours, _) in backdrops.BACKDROPS.items()
    for colour in colours
  ]
  pictures = {portraits.render(PEOPLE[1], variant, 32, 32).tobytes() for variant in looks}
  assert len(pictures) == len(looks)
  shaved = PEOPLE[1]._replace(facial_hair="")
  beards = [shaved._replace(facial_hair=kind) for kind in set(portraits.BEARDS)]
  pictures = {portraits.render(person, look, 32, 32).tobytes() for person in beards}
  assert len(pictures) == len(beards)


def test_yaw_carries_the_nose_to_the_side_it_turns_to():
  look = portraits.nuisance(5, 0, 0, strength=0.0)
  face = geometry.make_frame(look._replace(yaw=0.5), portraits.trait_values(PEOPLE[0]), 64, 64)
  front = geometry.make_frame(look, portraits.trait_values(PEOPLE[0]), 64, 64)
  points = np.array([-0.35, 0.0, 0.35]), np.zeros(3)
  turned = geometry.on_face(face, *points)[::2]
  straight = geometry.on_face(front, *points)[::2]
  assert turned[1] > straight[1] + 2
  assert turned[2] - turned[1] < 0.8 * (turned[1] - turned[0])
  assert straight[2] - straight[1] == pytest.approx(straight[1] - straight[0])


def test_strength_zero_is_frontal_and_clean_and_strength_scales():
  for image in range(40):
    still, usual, wild = (portraits.nuisance(1, 2, image, strength=s) for s in (0.0, 1.0, 2.0))
    for field in ("yaw", "pitch", "roll", "light_x", "light_y", "exposure", "blur", "noise"):
      assert getattr(still, field) == 0, field
    assert (still.hat, still.sunglasses, still.zoom) == ("", False, 1.0)
    assert wild.yaw == pytest.approx(2 * usual.yaw)
    assert (still.expression, still.background) == (usual.expression, usual.background)
    assert bool(wild.hat) >= bool(usual.hat)


def test_the_head_s_pixels_tell_people_apart_well_above_chance():
  people, images = 12, 8
  head = np.s_[7:23, 9:23]  # of 32: the backdrop, new in every picture, tells nothing
  table = np.stack([[pixels(p, k)[head].ravel() for k in range(images)] for p in range(people)])
  table = table - table.mean(axis=(0, 1))
  hits = 0
  for p in range(people):
    for k in range(images):
      centres = table.mean(axis=1)
      centres[p] = np.delete(table[p], k, axis=0).mean(axis=0)
      hits += int(np.argmin(np.linalg.norm(centres - table[p, k], axis=1)) == p)
  assert hits / (people * images) > 5 / people


def test_attributes_name_only_what_the_picture_shows():
  counts = {"hat": 0, "glasses": 0, "none": 0}
  for number, person in enumerate(PEOPLE):
    look = portraits.nuisance(5, number, 0)
    words = portraits.attributes(person, look)
    assert list(words) == ["person", "expression", "hair", "background", "clothes", "accessory"]
    assert all(value for key, value in words.items() if key != "accessory")
    assert not any("{" in value or "  " in value for value in words.values())
    assert words["person"] == person.gender and words["expression"] == look.expression
    assert words["clothes"].split()[1] == look.clothes_colour
    assert (look.hat != "" and words["accessory"].endswith(look.hat)) == bool(look.hat)
    assert words["accessory"].endswith(("hat", "beanie", "cap")) == bool(look.hat)
    if person.hair_style != "bald":
      assert person.hair in words["hair"]
    if words["accessory"] == "glasses":
      assert person.glasses and not look.sunglasses
    counts["hat"] += bool(look.hat)
    counts["glasses"] += words["accessory"] == "glasses"
    counts["none"] += words["accessory"] == ""
  assert min(counts.values()) > 10


@pytest.mark.parametrize(
  "prior", [("child", 0.1, "red"), ("man", 1.2, "red"), ("man", 0.2, "teal")]
)
def test_an_impossible_prior_is_named(prior):
  with pytest.raises(InputError, match="prior 1"):
    portraits.identities(0, [("woman", 0.2, "red"), prior])


def test_impossible_sizes_and_strengths_are_refused():
  look = portraits.nuisance(0, 0, 0)
  for size in ((64, 256), (256, 64), (8, 8)):
    with pytest.raises(InputError, match="size"):
      portraits.render(PEOPLE[0], look, *size)
  with pytest.raises(InputError, match="strength"):
    portraits.nuisance(0, 0, 0, strength=-0.1)
