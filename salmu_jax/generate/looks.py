"""The look of a person in all pictures, and its variation from picture to picture."""

from typing import NamedTuple

import numpy as np


class Identity(NamedTuple):
  """The look of a fictitious person, the same in every picture.

  Attributes:
    shape: (len(portraits.TRAITS),) traits in [-1, 1], in the order of TRAITS.
    gender: "woman" or "man".
    hair: its colour, a key of faces.HAIRS.
    hair_style: a key of hair.STYLES.
    parting: the side of the parting, -1 or 1.
    facial_hair: one of portraits.BEARDS.
    iris: a key of faces.IRISES.
    mole: () or (place, side).
    freckles: whether there are any.
    glasses: "" or one of portraits.GLASSES.
  """

  shape: np.ndarray
  gender: str
  hair: str
  hair_style: str
  parting: int
  facial_hair: str
  iris: str
  mole: tuple[()] | tuple[str, int]
  freckles: bool
  glasses: str


class Nuisance(NamedTuple):
  """The variation that one picture adds to the look of a person.

  Attributes:
    yaw, pitch, roll: radians.
    zoom: relative.
    shift_x, shift_y: in sides of the picture.
    expression: a key of portraits.EXPRESSIONS.
    smile, mouth_open, round, brows, frown, eyes: the numbers of the expression.
    gaze_x, gaze_y: -1 to 1.
    light_x, light_y: the side that the light comes from, 0 for the front.
    exposure, warmth: about 0.
    background: a family of backdrops.BACKDROPS.
    background_colour: one of the family's colours.
    background_seed: of its layout.
    clothes: a slot of portraits.WARDROBE.
    clothes_colour: a key of backdrops.COLOURS.
    hat: "" or one of portraits.HATS.
    hat_colour: a key of backdrops.COLOURS.
    sunglasses: whether the person wears any.
    blur: radius in sides of the picture.
    noise: standard deviation in grey levels.
    noise_seed: of the noise.
  """

  yaw: float
  pitch: float
  roll: float
  zoom: float
  shift_x: float
  shift_y: float
  expression: str
  smile: float
  mouth_open: float
  round: float
  brows: float
  frown: float
  eyes: float
  gaze_x: float
  gaze_y: float
  light_x: float
  light_y: float
  exposure: float
  warmth: float
  background: str
  background_colour: str
  background_seed: int
  clothes: int
  clothes_colour: str
  hat: str
  hat_colour: str
  sunglasses: bool
  blur: float
  noise: float
  noise_seed: int
