"""The geometry of a head: head units, their pixels on a canvas, and curves.

Points are in head units. The origin is the middle of the head; x points right, y down and z
towards the viewer. The crown is near y = -1 and the chin near y = 1. The face lies on an
ellipsoid that turns with the head, so yaw and pitch move and narrow every feature.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from salmu_jax.generate.looks import Nuisance

Pixels = list[float]  # x and y of points in turn, as ImageDraw takes them
Point = tuple[float, float, float]


class Frame(NamedTuple):
  """The map from head units to pixels.

  Attributes:
    x: of the origin, pixels.
    y: of the origin, pixels.
    unit: pixels of a head unit.
    yaw: its (sine, cosine).
    pitch: its (sine, cosine).
    roll: its (sine, cosine).
    half_width: of the ellipsoid, head units.
  """

  x: float
  y: float
  unit: float
  yaw: tuple[float, float]
  pitch: tuple[float, float]
  roll: tuple[float, float]
  half_width: float


def make_frame(nuisance: Nuisance, traits: Mapping[str, float], width: int, height: int) -> Frame:
  """The head's frame on a canvas of width x height pixels."""
  unit = 0.275 * nuisance.zoom * min(width, height)
  side = min(width, height)
  x = 0.5 * width + nuisance.shift_x * side
  y = 0.5 * height + (nuisance.shift_y - 0.025) * side
  turns = [(np.sin(a), np.cos(a)) for a in (nuisance.yaw, nuisance.pitch, nuisance.roll)]
  return Frame(x, y, unit, *turns, traits["head_width"])


def pixels(frame: Frame, x: np.ndarray, y: np.ndarray) -> Pixels:
  """Pixels of points (x, y) in head units, rolled with the head."""
  (sin, cos), pivot = frame.roll, 0.9
  px = frame.x + frame.unit * (x * cos - (y - pivot) * sin)
  py = frame.y + frame.unit * (x * sin + (y - pivot) * cos + pivot)
  return np.stack([px, py], axis=1).ravel().tolist()


def on_face(frame: Frame, x: ArrayLike, y: ArrayLike, lift: ArrayLike = 0.0) -> Pixels:
  """Pixels of points on the turned face, `lift` in front of its ellipsoid."""
  x, y = np.asarray(x, float), np.asarray(y, float)
  z = 1.0 - (x / frame.half_width) ** 2 - (y / 1.25) ** 2
  z = 0.78 * np.sqrt(np.maximum(z, 0.0)) + lift
  turned = x * frame.yaw[1] + z * frame.yaw[0]
  z = z * frame.yaw[1] - x * frame.yaw[0]
  return pixels(frame, turned, y * frame.pitch[1] - z * frame.pitch[0] * 0.8)


def outline(frame: Frame, x: ArrayLike, y: ArrayLike, z: ArrayLike = 0.0) -> Pixels:
  """Pixels of points on the silhouette, which turns in proportion to its depth z."""
  x, y = np.asarray(x, float), np.asarray(y, float)
  x = x + np.asarray(z) * frame.yaw[0]
  return pixels(frame, x, y - np.asarray(z) * frame.pitch[0] * 0.8)


@functools.lru_cache(maxsize=64)
def _spline(count, steps):
  """(count * steps, count) weights of a closed Catmull-Rom curve through `count` points."""
  t = np.arange(steps) / steps
  basis = np.stack(
    [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1
  )
  weights = np.zeros((count * steps, count))
  for k in range(count):
    for j in range(4):
      weights[k * steps : (k + 1) * steps, (k + j - 1) % count] += 0.5 * basis[:, j]
  return weights


def smooth(points: ArrayLike, steps: int = 5) -> np.ndarray:
  """A smooth closed curve through points (N, C): (N * steps, C)."""
  points = np.asarray(points, float)
  return _spline(len(points), steps) @ points


def mirrored(right: Sequence[Point]) -> list[Point]:
  """A closed outline from its right half, (x, y, z) from top to bottom."""
  left = [(-x, y, z) for x, y, z in right[::-1] if x > 0]
  return list(right) + left


def head_outline(traits: Mapping[str, float]) -> np.ndarray:
  """(N, 3) outline of the head."""
  t = traits
  w, top, chin = t["head_width"], -t["head_height"], t["chin_length"]
  jaw, cheek = t["jaw"] * w, t["cheek"] * w
  half = [
    (0.0, top, -0.1),
    (0.62 * w, top * 0.86, -0.1),
    (0.97 * w, top * 0.4, 0.0),
    (cheek, 0.12, 0.0),
    (jaw, 0.14 + 0.44 * chin, 0.08),
    (0.5 * (jaw + t["chin_width"]), 0.82 * chin, 0.22),
    (0.5 * t["chin_width"], 0.985 * chin, 0.34),
    (0.0, 1.0 * chin, 0.36),
  ]
  return smooth(mirrored(half))


def blob(
  x: float, y: float, rx: float, ry: float, count: int = 14
) -> tuple[np.ndarray, np.ndarray]:
  """The outline of an ellipse: x (count,) and y (count,)."""
  angle = np.arange(count) * (2 * np.pi / count)
  return x + rx * np.cos(angle), y + ry * np.sin(angle)
