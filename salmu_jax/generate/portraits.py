"""Synthetic portraits of fictitious people: samples their looks and renders the images.

An `Identity` is the look of a person in all pictures, a `Nuisance` the variation of one picture.
Both are drawn from explicit seeds; `render` draws the picture without further randomness.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from salmu_jax.errors import InputError
from salmu_jax.generate import backdrops, faces, geometry, hair
from salmu_jax.generate.looks import Identity, Nuisance
from salmu_jax.generate.personas import GENDERS, pick

# First words of the seeds, so that identities and nuisances never share a stream.
IDENTITY_TAG = 1701
NUISANCE_TAG = 1702
# Least Euclidean distance of two people, in traits divided by their standard deviation; strangers
# are about 9 apart.
MIN_DISTANCE = 5.5

# Head units (geometry.py) at the two ends of each trait, -1 and 1.
TRAITS = {
  "head_width": (0.66, 0.86),
  "head_height": (0.95, 1.08),
  "jaw": (0.66, 0.98),
  "chin_width": (0.14, 0.5),
  "chin_length": (0.9, 1.12),
  "cheek": (0.94, 1.05),
  "forehead": (0.54, 0.74),
  "eye_size": (0.82, 1.28),
  "eye_spacing": (0.27, 0.39),
  "eye_height": (-0.04, 0.1),
  "eye_tilt": (-0.18, 0.22),
  "eye_open": (0.72, 1.2),
  "brow_thickness": (0.045, 0.13),
  "brow_arch": (-0.01, 0.1),
  "brow_height": (0.17, 0.27),
  "brow_tilt": (-0.5, 0.25),
  "brow_length": (0.14, 0.23),
  "nose_length": (0.28, 0.44),
  "nose_width": (0.1, 0.22),
  "nose_lift": (0.12, 0.32),
  "bridge": (0.03, 0.08),
  "mouth_width": (0.19, 0.35),
  "mouth_height": (0.56, 0.66),
  "lip_fullness": (0.5, 1.6),
  "ear_size": (0.14, 0.26),
  "ear_stick": (0.0, 0.1),
  "neck": (0.34, 0.5),
  "shoulders": (0.86, 1.14),
  "skin": (0.0, 1.0),
  "undertone": (-1.0, 1.0),
  "hair_tone": (-1.0, 1.0),
  "hair_hue": (-1.0, 1.0),
  "hair_volume": (0.05, 0.24),
  "hair_length": (0.82, 1.25),
  "wave": (0.0, 1.0),
  "lip_colour": (-1.0, 1.0),
  "age": (0.0, 1.0),
}
NAMES = tuple(TRAITS)
LOW, HIGH = np.array(list(TRAITS.values())).T
DEVIATION = 1 / np.sqrt(3)  # of a trait, uniform on [-1, 1]
# Mean differences between women and men, in trait units, added when a face is drawn.
FEMININE = {"jaw": -0.35, "chin_width": -0.4, "brow_thickness": -0.5, "lip_fullness": 0.4,
            "neck": -0.4, "shoulders": -0.5, "eye_size": 0.3}  # fmt: skip
SHIFT = np.array([FEMININE.get(name, 0.0) for name in NAMES])

HAIR_STYLES = {
  "woman": ("long", "wavy", "bob", "ponytail", "bun", "curly", "pixie", "braids", "fringe"),
  "man": ("short", "parted", "quiff", "curls", "cropped", "receding", "mop", "shoulder", "bald"),
}
BEARDS = ("", "", "", "stubble", "moustache", "goatee", "beard")
MOLES = ("cheek", "lip", "chin", "brow")
GLASSES = ("round", "square", "oval")

# A slot holds the same kind of garment for both, so that a nuisance needs no gender.
WARDROBE = {
  "woman": ("t-shirt", "blouse", "blazer", "sweater", "hoodie", "turtleneck", "dress",
            "striped shirt"),
  "man": ("t-shirt", "shirt", "suit", "sweater", "hoodie", "turtleneck", "t-shirt",
          "striped shirt"),
}  # fmt: skip
CLOTHES_COLOURS = tuple(backdrops.COLOURS)
HATS = ("straw hat", "felt hat", "beanie", "cap")

# expression: (smile, how far the mouth opens, how round it is, brows up, frown, eyes open)
EXPRESSIONS = {
  "smiling": (0.75, 0.0, 0.0, 0.1, 0.0, 0.95),
  "grinning": (0.9, 0.5, 0.0, 0.15, 0.0, 0.85),
  "laughing": (1.0, 1.1, 0.0, 0.35, 0.0, 0.6),
  "serious": (-0.1, 0.0, 0.0, -0.05, 0.0, 0.95),
  "surprised": (0.0, 1.1, 1.0, 0.9, 0.0, 1.35),
  "frowning": (-0.75, 0.0, 0.0, -0.35, 0.65, 0.85),
}


def _draw_identity(rng, gender, skin, colour):
  shape = rng.uniform(-1, 1, len(NAMES))
  k = NAMES.index("skin")
  shape[k] = np.clip(2 * skin - 1 + 0.1 * shape[k], -1, 1)
  style, beard = pick(rng, HAIR_STYLES[gender]), pick(rng, BEARDS)
  eyes = ("blue", "green", "grey", "hazel", "brown") if skin < 0.35 else ("brown", "hazel")
  chances = rng.random(4)
  return Identity(
    shape=shape,
    gender=gender,
    hair=colour,
    hair_style=style,
    parting=1 if chances[0] < 0.5 else -1,
    facial_hair=beard if gender == "man" else "",
    iris=pick(rng, eyes),
    mole=(pick(rng, MOLES), 1 if chances[3] < 0.125 else -1) if chances[3] < 0.25 else (),
    freckles=bool(chances[1] < 0.2),
    glasses=pick(rng, GLASSES) if chances[2] < 0.25 else "",
  )


def _check_prior(number, prior):
  gender, skin, colour = prior
  if gender not in GENDERS or not 0 <= skin <= 1 or colour not in faces.HAIRS:
    raise InputError(
      f"portraits.identities: prior {number} is {tuple(prior)!r}; a prior is (gender, skin, hair) "
      f"with gender one of {', '.join(GENDERS)}, skin from 0 to 1 and hair one of "
      f"{', '.join(faces.HAIRS)}."
    )


def identities(seed: int, priors: Sequence[tuple[str, float, str]]) -> list[Identity]:
  """Draws one person for each prior, no two of them alike.

  A person closer than MIN_DISTANCE to an earlier one, in traits divided by their standard
  deviation, is drawn again from the same stream. So the first k people do not depend on how many
  follow.

  Args:
    seed: the seed of the whole population.
    priors: (gender, skin, hair): "woman" or "man", 0 (very light) to 1 (very dark), and a key of
      faces.HAIRS.

  Returns:
    One Identity for each prior, in the same order.

  Raises:
    InputError: a prior is out of range.
  """
  table, gaps = np.empty((2, len(priors), len(NAMES)))
  people = []
  for person, prior in enumerate(priors):
    _check_prior(person, prior)
    rng = np.random.default_rng([seed, IDENTITY_TAG, person])
    for _ in range(1000):
      identity = _draw_identity(rng, *prior)
      gap = np.subtract(table[:person], identity.shape, out=gaps[:person])
      nearest = np.einsum("nt,nt->n", gap, gap).min(initial=np.inf)
      if nearest >= (MIN_DISTANCE * DEVIATION) ** 2:
        break
    else:
      raise InputError(
        f"portraits.identities: found no face for person {person} of {len(priors)} that differs "
        "enough from all earlier ones; ask for fewer people."
      )
    identity.shape.setflags(write=False)
    table[person] = identity.shape
    people.append(identity)
  return people


def nuisance(seed: int, person: int, image: int, strength: float = 1.0) -> Nuisance:
  """Draws the variation of one picture of a person.

  Args:
    seed: the seed of the whole population.
    person: number of the person.
    image: number of the picture.
    strength: scales pose, framing, gaze, light, blur and noise, and the share of pictures with a
      hat (one in eight at 1) or sunglasses (one in twelve). 0 is frontal, clean and bare-headed.
      Expression, background and clothes do not depend on it.

  Raises:
    InputError: strength is negative.
  """
  if strength < 0:
    raise InputError(f"portraits.nuisance: strength is {strength}; it must be 0 or more.")
  rng = np.random.default_rng([seed, NUISANCE_TAG, person, image])
  u = (rng.uniform(-1, 1, 14) * strength).tolist()
  mood = pick(rng, tuple(EXPRESSIONS))
  smile, mouth_open, round_, brows, frown, eyes = EXPRESSIONS[mood]
  vary = rng.uniform(0.85, 1.15, 4).tolist()
  family = pick(rng, tuple(backdrops.BACKDROPS))
  chances = rng.random(2)
  hat = pick(rng, HATS)
  return Nuisance(
    yaw=0.6 * u[0], pitch=0.25 * u[1], roll=0.2 * u[2],
    zoom=1 + 0.08 * u[3], shift_x=0.05 * u[4], shift_y=0.03 * u[5],
    expression=mood, smile=smile * vary[0], mouth_open=mouth_open * vary[1], round=round_,
    brows=brows * vary[2], frown=frown, eyes=eyes * vary[3] ** 0.5,
    gaze_x=u[6], gaze_y=0.6 * u[7],
    light_x=1.1 * u[8], light_y=-0.35 * abs(u[9]), exposure=0.15 * u[10], warmth=0.1 * u[11],
    background=family, background_colour=pick(rng, backdrops.BACKDROPS[family][1]),
    background_seed=int(rng.integers(2**31)),
    clothes=int(rng.integers(len(WARDROBE["woman"]))), clothes_colour=pick(rng, CLOTHES_COLOURS),
    hat=hat if chances[0] < strength / 8 else "", hat_colour=pick(rng, CLOTHES_COLOURS),
    sunglasses=bool(chances[1] < strength / 12),
    blur=0.007 * u[12] ** 2, noise=6.0 * abs(u[13]), noise_seed=int(rng.integers(2**31)),
  )  # fmt: skip


def trait_values(identity: Identity) -> dict[str, float]:
  """{trait: value in head units} of an identity."""
  shape = identity.shape + (SHIFT if identity.gender == "woman" else 0.0)
  values = LOW + (HIGH - LOW) * (shape + 1) / 2
  return dict(zip(NAMES, values.tolist(), strict=True))


def render(identity: Identity, nuisance: Nuisance, width: int, height: int) -> Image.Image:
  """Draws one portrait; the same arguments give the same bytes.

  The head is in the central square, of side min(width, height); the background fills the canvas.

  Args:
    identity: the person.
    nuisance: the variation of this picture.
    width: pixels, at least 16, from a third of the height to three times it.
    height: pixels, at least 16.

  Returns:
    An RGB image of width x height.

  Raises:
    InputError: the size is out of range.
  """
  # Aspect ratios run from 0.33 to 3.00; whole pixels may exceed them a little.
  if min(width, height) < 16 or max(width, height) > 3.1 * min(width, height):
    raise InputError(
      f"portraits.render: size {width}x{height}; both sides must be at least 16 pixels and the "
      "aspect ratio width / height must lie between 0.33 and 3.00."
    )
  side = min(width, height)
  scale = 4 if side <= 96 else 3 if side <= 160 else 2
  canvas = Image.new("RGB", (width * scale, height * scale))
  draw = ImageDraw.Draw(canvas)
  family, colour = nuisance.background, nuisance.background_colour
  backdrops.draw_backdrop(
    draw, *canvas.size, side * scale, family, colour, nuisance.background_seed
  )
  face = _make_face(draw, identity, nuisance, *canvas.size)
  _draw_person(face)
  return _finish(canvas.reduce(scale), face, scale)


def _make_face(draw, identity, nuisance, width, height):
  n, t = nuisance, trait_values(identity)
  frame = geometry.make_frame(n, t, width, height)
  skin = faces.skin_colour(t["skin"], t["undertone"])
  shadow = backdrops.mix(skin, (96, 30, 24), 0.2 + 0.14 * (1 - t["skin"]))
  shadow = backdrops.dark(shadow, 0.14)
  locks = faces.hair_colour(identity.hair, t["hair_tone"], t["hair_hue"])
  return faces.Face(draw, frame, t, identity, n, skin, shadow, locks)


def _draw_person(face):
  """Draws hair, clothes and head, from back to front."""
  identity, n, t, frame = face.identity, face.nuisance, face.traits, face.frame
  hair.draw_back_hair(face)
  body = backdrops.Body(frame.x, frame.y, frame.unit, t["neck"])
  kind = WARDROBE[identity.gender][n.clothes]
  neck = backdrops.mix(face.skin, face.shadow, 0.5)
  backdrops.draw_clothes(face.draw, body, kind, n.clothes_colour, neck, t["shoulders"])
  faces.draw_head(face)
  faces.draw_complexion(face)
  if identity.facial_hair:
    hair.draw_beard(face)
  faces.draw_features(face)
  hair.draw_front_hair(face)
  if n.sunglasses or identity.glasses:
    faces.draw_glasses(face, identity.glasses or "oval", n.sunglasses)
  if n.hat:
    hair.draw_hat(face)


def _finish(picture, face, scale):
  """Adds light on the ball of the head, exposure, warmth, blur and noise, at the final size."""
  n, frame = face.nuisance, face.frame
  if n.blur > 0:
    picture = picture.filter(ImageFilter.GaussianBlur(n.blur * min(picture.size)))
  width, height = picture.size
  unit = frame.unit / scale
  x = ((np.arange(width, dtype=np.float32) - frame.x / scale) / unit)[None, :]
  y = ((np.arange(height, dtype=np.float32) - frame.y / scale) / unit)[:, None]
  # The slope saturates away from the head, so that the background only darkens gently.
  ramp = np.tanh(0.9 * x) * np.float32(n.light_x) + np.tanh(0.6 * y) * np.float32(n.light_y)
  gain = 1 + 0.3 * ramp - 0.05 * np.minimum(x * x + y * y, 3.0) + np.float32(0.03 + n.exposure)
  tint = np.array([1 + n.warmth, 1.0, 1 - n.warmth], np.float32)
  pixels = np.asarray(picture, np.float32) * gain[:, :, None] * tint
  if n.noise > 0:
    rng = np.random.default_rng(n.noise_seed)
    pixels += np.float32(n.noise) * rng.standard_normal(pixels.shape, np.float32)
  return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


def _an(words):
  return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _accessory(identity, nuisance):
  if nuisance.hat:
    kind = nuisance.hat
    return _an(kind if kind == "straw hat" else f"{nuisance.hat_colour} {kind}")
  if nuisance.sunglasses:
    return "sunglasses"
  if identity.glasses:
    return "glasses"
  kind = identity.facial_hair
  return "" if kind in ("", "stubble") else _an(kind)


def attributes(identity: Identity, nuisance: Nuisance) -> dict[str, str]:
  """The visible attributes of a picture, for a generic caption.

  Returns:
    {"person", "expression", "hair", "background", "clothes", "accessory"}. Nouns come with their
    article ("a blue shirt"). The accessory is the most visible one, or "" (stubble is none).
  """
  style = hair.STYLES[identity.hair_style]
  words = style.hatted if nuisance.hat else style.words
  clothes = f"{nuisance.clothes_colour} {WARDROBE[identity.gender][nuisance.clothes]}"
  place = backdrops.BACKDROPS[nuisance.background][0].format(nuisance.background_colour)
  return {
    "person": identity.gender,
    "expression": nuisance.expression,
    "hair": words.format(identity.hair),
    "background": f"an{place[1:]}" if place.startswith("a o") else place,
    "clothes": _an(clothes),
    "accessory": _accessory(identity, nuisance),
  }
