"""Backgrounds of the scenes: two colours mixed by a drawn pattern.

A pattern is a function `(rng, x, y) -> t`. `x` float[W] and `y` float[H, 1] are coordinates in
units of the shorter side, with (0, 0) at the centre. `t` in [0, 1] broadcasts to [H, W]: the
share of the second colour in each pixel.
"""

from collections.abc import Callable, Mapping

import numpy as np

Pattern = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]

COLOURS = {
  "red": (200, 70, 65),
  "orange": (225, 140, 60),
  "yellow": (232, 208, 95),
  "green": (95, 160, 85),
  "teal": (70, 160, 160),
  "blue": (85, 130, 205),
  "purple": (140, 100, 180),
  "pink": (232, 160, 185),
  "brown": (140, 100, 70),
  "grey": (150, 150, 150),
  "white": (240, 240, 235),
  "black": (45, 45, 50),
}
NAMES = tuple(COLOURS)
_PALETTE = np.array(list(COLOURS.values()), np.float64)


def _plain(rng, x, y):
  return np.zeros((len(y), len(x)))


def _gradient(rng, x, y):
  angle = rng.uniform(0, 2 * np.pi)
  return np.clip(0.5 + 0.75 * (np.cos(angle) * x + np.sin(angle) * y), 0, 1)


def _stripes(rng, x, y):
  angle, period = rng.uniform(0, np.pi), rng.uniform(0.12, 0.3)
  wave = np.sin(2 * np.pi / period * (np.cos(angle) * x + np.sin(angle) * y) + rng.uniform(0, 6))
  return np.clip(0.5 + 3 * wave, 0, 1)


def _checks(rng, x, y):
  period = rng.uniform(0.12, 0.28)
  dx, dy = rng.uniform(0, period, 2)
  return (np.floor((x + dx) / period) + np.floor((y + dy) / period)) % 2


def _dots(rng, x, y):
  period = rng.uniform(0.14, 0.28)
  dx, dy = rng.uniform(0, period, 2)
  row = np.floor((y + dy) / period)
  u = (x + dx) / period + 0.5 * (row % 2)
  near = np.hypot(u - np.floor(u) - 0.5, (y + dy) / period - row - 0.5)
  return np.clip((0.32 - near) * 12, 0, 1)


def _hills(rng, x, y):
  swing, pace, phase = rng.uniform([0.04, 4, 0], [0.1, 9, 6], (2, 3)).T
  far, near = (swing[i] * np.sin(pace[i] * x + phase[i]) for i in (0, 1))
  horizon = rng.uniform(0.0, 0.2)
  return 0.6 * (y > far + horizon) + 0.4 * (y > near + horizon + rng.uniform(0.1, 0.2))


def _bricks(rng, x, y):
  tall = rng.uniform(0.1, 0.18)
  dx, dy = rng.uniform(0, 1, 2)
  row = np.floor(y / tall + dy)
  u, v = x / (2.2 * tall) + dx + 0.5 * (row % 2), y / tall + dy
  return ((u - np.floor(u) < 0.08) | (v - row < 0.17)).astype(np.float64)


def _waves(rng, x, y):
  period, swing = rng.uniform(0.14, 0.28), rng.uniform(0.03, 0.08)
  bend = swing * np.sin(rng.uniform(6, 14) * x + rng.uniform(0, 6))
  return np.clip(0.5 + 2 * np.sin(2 * np.pi / period * (y + bend)), 0, 1)


def _rings(rng, x, y):
  cx, cy = rng.uniform(-0.5, 0.5, 2)
  wave = np.sin(2 * np.pi / rng.uniform(0.15, 0.3) * np.hypot(x - cx, y - cy) + rng.uniform(0, 6))
  return np.clip(0.5 + 2 * wave, 0, 1)


def _rays(rng, x, y):
  cx, cy = rng.uniform(-0.5, 0.5, 2)
  wave = np.sin(rng.integers(5, 11) * np.arctan2(y - cy, x - cx) + rng.uniform(0, 6))
  return np.clip(0.5 + 4 * wave, 0, 1)


def _clouds(rng, x, y):
  t = np.zeros((len(y), len(x)))
  for octave in range(1, 4):
    a, b, phase = rng.normal(0, 4 * octave, 2), rng.normal(0, 4 * octave, 2), rng.uniform(0, 6, 2)
    t += np.sin(a[0] * x + a[1] * y + phase[0]) * np.sin(b[0] * x + b[1] * y + phase[1]) / octave
  return np.clip(0.5 + 0.5 * t, 0, 1)


def _speckles(rng, x, y):
  return (rng.random((len(y), len(x))) < rng.uniform(0.15, 0.35)).astype(np.float64)


# Name of a pattern: (its phrase in a caption, with {} for its main colour; the pattern).
TRAINING_PATTERNS = {
  "plain": ("plain {}", _plain),
  "gradient": ("{} shading", _gradient),
  "stripes": ("{} stripes", _stripes),
  "checks": ("{} checks", _checks),
  "dots": ("{} dots", _dots),
  "hills": ("{} hills", _hills),
  "bricks": ("{} bricks", _bricks),
  "waves": ("{} waves", _waves),
}
ZERO_SHOT_PATTERNS = {
  "rings": ("{} rings", _rings),
  "rays": ("{} rays", _rays),
  "clouds": ("{} clouds", _clouds),
  "speckles": ("{} speckles", _speckles),
}


def _main_colour(rng, avoid) -> int:
  """The one of two drawn colours that is further from `avoid`, so that an object stands out."""
  a, b = rng.integers(len(_PALETTE), size=2)
  distances = np.abs(_PALETTE[[a, b]] - avoid).sum(1)
  return int(a if distances[0] >= distances[1] else b)


def background(
  rng: np.random.Generator,
  patterns: Mapping[str, tuple[str, Pattern]],
  avoid: np.ndarray,
  width: int,
  height: int,
) -> tuple[np.ndarray, str]:
  """Draws a background.

  Args:
    rng: draws the pattern and its colours.
    patterns: `TRAINING_PATTERNS` or `ZERO_SHOT_PATTERNS`.
    avoid: float[3], the RGB of the object that will stand on it.
    width: W, pixels.
    height: H, pixels.

  Returns:
    float32[H, W, 3] in [0, 255], and its phrase in a caption.
  """
  phrase, pattern = patterns[tuple(patterns)[rng.integers(len(patterns))]]
  colour = _main_colour(rng, avoid)
  first = np.clip(_PALETTE[colour] + rng.normal(0, 10, 3), 0, 255)
  # The second colour is a lighter or darker neighbour, so that the pattern stays behind the object.
  goal = rng.uniform(0, 255, 3)
  second = first + rng.uniform(0.25, 0.5) * (goal - first)
  side = min(width, height)
  x = (np.arange(width) + 0.5 - width / 2) / side
  y = ((np.arange(height) + 0.5 - height / 2) / side)[:, None]
  t = pattern(rng, x, y)[..., None].astype(np.float32)
  pixels = first.astype(np.float32) + t * (second - first).astype(np.float32)
  return pixels, phrase.format(NAMES[colour])
