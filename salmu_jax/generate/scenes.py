"""Captioned images of everyday objects: the stand-in for real image-text pairs.

They carry the general knowledge that unlearning must not harm. A scene shows one or two OpenMoji
objects on a drawn background. The zero-shot test shows the same classes, with styles, backgrounds
and prompts that no training scene has.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from salmu_jax.errors import InputError
from salmu_jax.generate import artwork, patterns

CLASS_LIMIT = 489

# The first number after the seed in each generator, so that training and test share no stream.
_TRAINING, _ZERO_SHOT = 7301, 7302
_PAIRS = 0.35  # fraction of training scenes with two objects

SINGLE_CAPTIONS = (
  "{a}",
  "a picture of {a}",
  "this is {a}",
  "there is {a} here",
  "a drawing of one {name}",
  "{styled} drawing of {a}",
  "{a} on {background}",
  "{a}, {style}, on {background}",
)
PAIR_CAPTIONS = (
  "{a} and {b}",
  "here are {a} and {b}",
  "{a} next to {b}",
  "this is {a} with {b}",
)
# Held-out arrangements of the words of training captions: an unseen word would move a small model's
# class weights at random. No article stands before the gap, so that any class name fits.
ZERO_SHOT_PROMPTS = (
  "one {}",
  "this is one {}",
  "here is one {}",
  "there is one {}",
  "a picture with one {}",
  "this is a picture of one {}",
  "here is a drawing of one {}",
  "a drawing, one {}",
)


def classes(count: int) -> tuple[str, ...]:
  """The first `count` class names.

  The order is fixed, so a smaller set is a prefix of a larger one. The first 120 are chosen to
  look different from each other. Names follow the Unicode CLDR short names, in the singular and
  without colours, which restyling changes.

  Raises:
    InputError: `count` is not in 2..CLASS_LIMIT.
  """
  if not 2 <= count <= CLASS_LIMIT:
    raise InputError(
      f"The number of classes is {count}; it must be from 2 to {CLASS_LIMIT}, the number of "
      "drawings."
    )
  return tuple(artwork.code_points())[:count]


def with_article(phrase: str) -> str:
  """`phrase` with "a" or "an", by its sound."""
  vowel = phrase[0] in "aeiou" and not phrase.startswith(("uni", "eu", "one"))
  return ("an " if vowel or phrase.startswith("hour") else "a ") + phrase


def _paste(canvas, rng, sprite, centre, side, strength):
  """Draws `sprite` into float[H, W, 3], `side` pixels wide, at `centre` (x, y), with nuisance."""
  image = sprite.image.resize((side, side), Image.Resampling.BILINEAR)
  if rng.random() < 0.5:
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  image = image.rotate(strength * rng.uniform(-20, 20), Image.Resampling.BILINEAR, expand=True)
  pixels = np.asarray(image, np.float32)
  left, top = (round(c - n / 2) for c, n in zip(centre, image.size, strict=True))
  height, width = canvas.shape[:2]
  x0, x1 = max(left, 0), min(left + image.width, width)
  y0, y1 = max(top, 0), min(top + image.height, height)
  pixels = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
  part = canvas[y0:y1, x0:x1]
  part *= 1 - pixels[..., 3:] / 255
  part += pixels[..., :3] * rng.uniform(0.85, 1.1, 3).astype(np.float32)


def _places(
  rng, count: int, width: int, height: int, strength: float
) -> list[tuple[tuple[float, float], int]]:
  """Centre and side of each object; it is in the central square, or overhangs it a little."""
  square = min(width, height)
  sides = 0.9 - strength * rng.uniform(0.05, 0.35, 1) if count == 1 else rng.uniform(0.42, 0.52, 2)
  spots = [(0.0, 0.0)] if count == 1 else [(-0.24, 0.0), (0.24, 0.0)][:: rng.choice([-1, 1])]
  places = []
  for part, (x, y) in zip(sides, spots, strict=True):
    free = (1 - part) / 2
    dx = strength * rng.uniform(-free, free) if count == 1 else rng.uniform(-0.03, 0.03)
    dy = strength * rng.uniform(-free, free) * (1.0 if count == 1 else 0.7)
    centre = (width / 2 + (x + dx) * square, height / 2 + (y + dy) * square)
    places.append((centre, max(round(part * square), 1)))
  return places


def _compose(rng, names, style, families, width, height, strength) -> tuple[Image.Image, str]:
  """A scene with the objects `names` in one style, and the phrase for its background."""
  # All scenes share a few working sizes, so that the cache holds few copies.
  size = max(64, -(-min(width, height) // 64) * 64)
  sprites = [artwork.sprite(name, style, size) for name in names]
  mean = np.mean([sprite.mean for sprite in sprites], axis=0)
  canvas, phrase = patterns.background(rng, families, mean, width, height)
  for sprite, (centre, side) in zip(
    sprites, _places(rng, len(names), width, height, strength), strict=True
  ):
    _paste(canvas, rng, sprite, centre, side, strength)
  return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)), phrase


def training_scene(
  seed: int, index: int, names: Sequence[str], width: int, height: int, strength: float = 1.0
) -> tuple[Image.Image, str]:
  """One training image with its caption; both depend only on the arguments.

  Args:
    seed: of the data set.
    index: of the scene; the class of its first object is `index % len(names)`.
    names: the classes in use, from `classes`.
    width: of the picture, pixels.
    height: of the picture, pixels.
    strength: of rotation, shift and change of size; 0 shows single objects large and centred.

  Returns:
    An RGB image, and a caption of at most 12 words that names every object in it.
  """
  rng = np.random.default_rng([seed, _TRAINING, index])
  first = index % len(names)
  objects = [names[first]]
  if len(names) > 1 and rng.random() < _PAIRS:
    objects.append(names[(first + rng.integers(1, len(names))) % len(names)])
  style = tuple(artwork.TRAINING_STYLES)[rng.integers(len(artwork.TRAINING_STYLES))]
  image, background = _compose(
    rng, objects, style, patterns.TRAINING_PATTERNS, width, height, strength
  )
  wordings = SINGLE_CAPTIONS if len(objects) == 1 else PAIR_CAPTIONS
  word = artwork.STYLES[style].word
  caption = wordings[rng.integers(len(wordings))].format(
    a=with_article(objects[0]),
    b=with_article(objects[-1]),
    name=objects[0],
    style=word,
    styled=with_article(word),
    background=background,
  )
  return image, caption


def zero_shot_scene(
  seed: int,
  label: int,
  image: int,
  names: Sequence[str],
  width: int,
  height: int,
  strength: float = 1.0,
) -> Image.Image:
  """One picture of the zero-shot test, in a held-out style on a held-out background.

  Args:
    seed: of the data set.
    label: index into `names` of the object.
    image: number of the picture within its class.
    names: the classes in use, from `classes`.
    width: of the picture, pixels.
    height: of the picture, pixels.
    strength: of rotation, shift and change of size; 0 shows single objects large and centred.

  Returns:
    An RGB image.
  """
  rng = np.random.default_rng([seed, _ZERO_SHOT, label, image])
  styles = tuple(artwork.ZERO_SHOT_STYLES)
  style = styles[rng.integers(len(styles))]
  scene, _ = _compose(
    rng, [names[label]], style, patterns.ZERO_SHOT_PATTERNS, width, height, strength
  )
  return scene
