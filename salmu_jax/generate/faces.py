"""Draws a head in two and a half dimensions: skin, features, glasses."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from PIL import ImageDraw

from salmu_jax.generate.backdrops import Colour, dark, light, mix
from salmu_jax.generate.geometry import (
  Frame,
  Pixels,
  blob,
  head_outline,
  on_face,
  outline,
  pixels,
  smooth,
)
from salmu_jax.generate.looks import Identity, Nuisance

SKINS = (
  (255, 226, 208),
  (245, 204, 174),
  (226, 176, 136),
  (194, 138, 98),
  (148, 96, 64),
  (108, 68, 46),
  (76, 48, 36),
)
HAIRS = {
  "black": (36, 31, 36),
  "brown": (104, 66, 40),
  "blond": (226, 188, 112),
  "red": (186, 76, 34),
  "grey": (172, 174, 180),
}
IRISES = {
  "brown": (104, 62, 32),
  "hazel": (136, 104, 52),
  "green": (78, 132, 84),
  "blue": (66, 126, 186),
  "grey": (124, 140, 152),
}


class Face(NamedTuple):
  """One picture, as the drawing functions need it.

  Attributes:
    draw: the canvas.
    frame: the pose.
    traits: {trait: value in head units}.
    identity: the person.
    nuisance: the variation of this picture.
    skin: colour of the skin.
    shadow: colour of the skin in the shade.
    hair: colour of the hair.
  """

  draw: ImageDraw.ImageDraw
  frame: Frame
  traits: Mapping[str, float]
  identity: Identity
  nuisance: Nuisance
  skin: Colour
  shadow: Colour
  hair: Colour


def skin_colour(tone: float, undertone: float) -> Colour:
  """The colour of skin: tone 0 (very light) to 1 (very dark), undertone -1 (cool) to 1 (warm)."""
  place = tone * (len(SKINS) - 1)
  k = min(int(place), len(SKINS) - 2)
  base = mix(SKINS[k], SKINS[k + 1], place - k)
  return mix(base, (226, 150, 70) if undertone > 0 else (206, 116, 124), 0.13 * abs(undertone))


def hair_colour(name: str, tone: float, hue: float) -> Colour:
  """A colour of HAIRS, made lighter or darker by tone and warmer or cooler by hue, -1 to 1."""
  base = (
    light(HAIRS[name], (0.08 if name == "black" else 0.24) * tone)
    if tone > 0
    else dark(HAIRS[name], -0.34 * tone)
  )
  return mix(base, (196, 92, 40) if hue > 0 else (120, 120, 128), 0.16 * abs(hue))


def line(face: Face, points: Pixels, colour: Colour, width: float) -> None:
  """Draws a line, `width` head units wide."""
  face.draw.line(points, fill=colour, width=max(1, round(width * face.frame.unit)))


def _draw_ear(face, side):
  t = face.traits
  r = t["ear_size"]
  x, y = blob(0.0, 0.12, 0.62 * r, r)
  edge = side * t["head_width"] * (0.99 + t["ear_stick"])
  for k, colour in ((1.0, face.skin), (0.58, face.shadow)):
    face.draw.polygon(
      pixels(face.frame, edge * face.frame.yaw[1] + k * x, y * k + 0.12 * (1 - k)), fill=colour
    )


def draw_head(face: Face) -> None:
  """Draws the skin of the head, after the ear on the far side and before the near one."""
  yaw = face.frame.yaw[0]
  for side in (-1, 1):
    if side * yaw > -0.1:
      _draw_ear(face, side)
  face.draw.polygon(outline(face.frame, *head_outline(face.traits).T), fill=face.skin)
  for side in (-1, 1):
    if side * yaw <= -0.1:
      _draw_ear(face, side)


def _draw_eye(face, side):
  t, n = face.traits, face.nuisance
  half, tall = 0.155 * t["eye_size"], 0.088 * t["eye_size"] * t["eye_open"] * n.eyes
  cx, cy = side * t["eye_spacing"], t["eye_height"]

  def place(u, v):
    return on_face(face.frame, cx + side * u, cy + v - t["eye_tilt"] * u)

  u = np.linspace(-1, 1, 11)
  upper, lower = -tall * (1 - u**2) ** 0.8, 0.75 * tall * (1 - u**2)
  socket = place(
    np.concatenate([1.2 * half * u, 1.1 * half * u[::-1]]),
    np.concatenate([1.35 * upper - 0.045, lower[::-1] + 0.015]),
  )
  face.draw.polygon(socket, fill=mix(face.skin, face.shadow, 0.55))
  white = place(np.concatenate([half * u, half * u[::-1]]), np.concatenate([upper, lower[::-1]]))
  face.draw.polygon(white, fill=mix((250, 249, 246), face.shadow, 0.06))
  gx, gy, r = side * n.gaze_x * 0.4 * half, n.gaze_y * 0.3 * tall, 0.092 * t["eye_size"] ** 0.6
  iris = IRISES[face.identity.iris]
  for radius, colour in ((r, dark(iris, 0.25)), (0.8 * r, iris), (0.45 * r, (18, 14, 18))):
    x, y = blob(gx, gy, radius, radius, 12)
    x = np.clip(x, -0.95 * half, 0.95 * half)
    inside = 1 - (x / half) ** 2
    face.draw.polygon(place(x, np.clip(y, -tall * inside**0.8, 0.75 * tall * inside)), fill=colour)
  glint = blob(gx - 0.3 * r, gy - 0.3 * min(r, tall), 0.2 * r, 0.2 * r, 6)
  face.draw.polygon(place(*glint), fill=(255, 255, 255))
  lash = 0.042 if face.identity.gender == "woman" else 0.026
  line(face, place(half * u * 1.06, upper), dark(face.shadow, 0.72), lash)
  line(face, place(half * u[1:-1], lower[1:-1]), face.shadow, 0.018)


def _draw_brow(face, side):
  t, n = face.traits, face.nuisance
  u = np.linspace(-1, 1, 7)
  x = side * (t["eye_spacing"] + 0.02 + t["brow_length"] * u)
  arch = t["brow_arch"] * (1 - (u - 0.25) ** 2)
  slope = (t["brow_tilt"] + n.frown) * 0.12 * u
  y = t["eye_height"] - t["brow_height"] - 0.12 * n.brows - arch - slope
  thick = t["brow_thickness"] * np.array([0.75, 1.0, 1.0, 0.95, 0.85, 0.65, 0.2])
  pts = on_face(
    face.frame,
    np.concatenate([x, x[::-1]]),
    np.concatenate([y - thick / 2, (y + thick / 2)[::-1]]),
    0.02,
  )
  colour = mix(face.hair, (48, 34, 30), 0.45)
  face.draw.polygon(pts, fill=dark(colour, 0.1) if face.traits["skin"] < 0.7 else (26, 20, 20))


def _draw_nose(face):
  t, frame = face.traits, face.frame
  top, tip = t["eye_height"], t["eye_height"] + t["nose_length"]
  w, lift = t["nose_width"], t["nose_lift"]
  side = -1.0 if face.nuisance.light_x > 0 else 1.0
  shade, lit = mix(face.skin, face.shadow, 0.55), light(face.skin, 0.22)
  flank = smooth(
    [
      (side * t["bridge"], top - 0.1, 0.04),
      (0.0, 0.5 * (top + tip), 0.6 * lift),
      (0.0, tip, lift),
      (side * w, tip, 0.06),
      (side * 0.8 * w, tip - 0.12, 0.06),
      (side * t["bridge"] * 1.2, 0.4 * top + 0.6 * tip - 0.1, 0.1),
    ],
    3,
  )
  face.draw.polygon(on_face(frame, *flank.T), fill=shade)
  base = smooth(
    [
      (-w, tip - 0.03, 0.05),
      (-0.5 * w, tip - 0.055, 0.7 * lift),
      (0.0, tip - 0.06, lift),
      (0.5 * w, tip - 0.055, 0.7 * lift),
      (w, tip - 0.03, 0.05),
      (0.7 * w, tip + 0.055, 0.05),
      (0.0, tip + 0.075, 0.6 * lift),
      (-0.7 * w, tip + 0.055, 0.05),
    ],
    3,
  )
  face.draw.polygon(on_face(frame, *base.T), fill=mix(face.skin, face.shadow, 0.8))
  ball = blob(-0.12 * side * w, tip - 0.06, 0.62 * w, 0.085)
  face.draw.polygon(on_face(frame, *ball, lift), fill=mix(face.skin, lit, 0.35))
  for s in (-1, 1):
    hole = blob(0.45 * s * w, tip + 0.025, 0.24 * w, 0.024, 8)
    face.draw.polygon(on_face(frame, *hole, 0.4 * lift), fill=dark(face.shadow, 0.45))
  ridge = blob(-0.25 * side * t["bridge"], 0.45 * top + 0.55 * tip - 0.08, 0.028, 0.12, 8)
  face.draw.polygon(on_face(frame, *ridge, 0.6 * lift), fill=lit)


def _draw_mouth(face):
  t, n, frame = face.traits, face.nuisance, face.frame
  w = t["mouth_width"] * (1 + 0.22 * max(n.smile, 0.0)) * (1 - 0.4 * n.round)
  u = np.linspace(-1, 1, 13)
  arc = 1 - u**2
  middle = t["mouth_height"] + n.smile * (0.14 * arc - 0.09)
  gap = 0.17 * n.mouth_open * arc ** (0.5 if n.round > 0 else 0.8)
  full = t["lip_fullness"]
  bow = 0.052 * full * (arc**0.7 - 0.3 * np.exp(-((5 * u) ** 2)))
  top, bottom = middle - 0.35 * gap, middle + gap
  women = face.identity.gender == "woman"
  red = (186, 48, 66) if t["lip_colour"] > 0 else (176, 74, 62)
  lips = mix(face.skin, red, (0.5 if women else 0.24) + 0.2 * abs(t["lip_colour"]))
  lips = mix(lips, dark(face.skin, 0.5), 0.25)

  def fill(a, b, colour, x=w * u):
    points = on_face(frame, np.concatenate([x, x[::-1]]), np.concatenate([a, b[::-1]]), 0.06)
    face.draw.polygon(points, fill=colour)

  fill(top - bow, middle, dark(lips, 0.12))
  fill(middle, bottom + 0.075 * full * arc, lips)
  if n.mouth_open > 0.08:
    fill(top, bottom, (92, 26, 34))
    teeth = top + (bottom - top) * (0.3 if n.round > 0 else 0.5)
    fill(top, teeth, (250, 248, 242))
  else:
    line(face, on_face(frame, w * u, middle, 0.06), dark(lips, 0.5), 0.028)
  under = t["mouth_height"] + 0.1 * full + 0.19 * n.mouth_open + 0.08
  chin = blob(0.0, under, 0.4 * w, 0.022, 8)
  face.draw.polygon(on_face(frame, *chin, 0.04), fill=mix(face.skin, face.shadow, 0.35))


def draw_complexion(face: Face) -> None:
  """Draws cheeks, lines of age and freckles."""
  t, frame, identity = face.traits, face.frame, face.identity
  blush = 0.14 if identity.gender == "woman" else 0.08
  for s in (-1, 1):
    cheek = blob(s * 0.62 * t["head_width"], t["eye_height"] + 0.38, 0.17, 0.12)
    face.draw.polygon(on_face(frame, *cheek), fill=mix(face.skin, (220, 80, 80), blush))
    if t["age"] > 0.55:
      x = s * (t["nose_width"] + np.array([0.06, 0.13, 0.17]))
      y = t["eye_height"] + t["nose_length"] + np.array([0.0, 0.1, 0.22])
      line(face, on_face(frame, x, y), mix(face.skin, face.shadow, 1.4 * t["age"] - 0.5), 0.025)
  if t["age"] > 0.75:
    for y in (0.3, 0.38):
      x = np.linspace(-0.3, 0.3, 5)
      line(
        face,
        on_face(frame, x, t["eye_height"] - t["brow_height"] - y * 0.7 - 0.02 * x**2),
        mix(face.skin, face.shadow, 0.6),
        0.02,
      )
  if identity.freckles:
    spot = mix(face.skin, face.shadow, 0.7)
    for k in range(22):
      x = ((k * 0.618) % 1 - 0.5) * 1.5 * t["head_width"]
      y = t["eye_height"] + 0.2 + 0.22 * ((k * 0.414) % 1)
      face.draw.polygon(on_face(frame, *blob(x, y, 0.017, 0.017, 6)), fill=spot)


def _draw_mole(face):
  spot = {"cheek": (0.55, 0.42), "lip": (0.55, 0.66), "chin": (0.3, 0.86), "brow": (0.4, -0.34)}
  name, side = face.identity.mole
  x, y = spot[name]
  points = on_face(face.frame, *blob(side * x * face.traits["head_width"], y, 0.032, 0.032, 8))
  face.draw.polygon(points, fill=dark(face.shadow, 0.55))


def draw_features(face: Face) -> None:
  """Draws eyes, brows, nose, mouth and mole."""
  for side in (-1, 1):
    _draw_eye(face, side)
    _draw_brow(face, side)
  _draw_nose(face)
  _draw_mouth(face)
  if face.identity.mole:
    _draw_mole(face)


def draw_glasses(face: Face, kind: str, sun: bool) -> None:
  """Draws glasses, or sunglasses, which hide the eyes.

  Args:
    face: the picture.
    kind: one of portraits.GLASSES.
    sun: whether they are sunglasses.
  """
  t, frame = face.traits, face.frame
  corner = {"round": 1.0, "square": 0.5, "oval": 0.85}[kind]
  rx, ry = {"round": (0.24, 0.23), "square": (0.26, 0.19), "oval": (0.27, 0.17)}[kind]
  rx, ry = (1.12 * rx, 1.12 * ry) if sun else (rx, ry)
  rim = (24, 24, 28) if sun or kind != "round" else (150, 104, 52)
  angle = np.arange(20) * (2 * np.pi / 20)
  cos, sin = np.cos(angle), np.sin(angle)
  x = rx * np.sign(cos) * np.abs(cos) ** corner
  y = t["eye_height"] + 0.02 + ry * np.sign(sin) * np.abs(sin) ** corner
  spacing = max(t["eye_spacing"], rx + 0.04)
  thick = 0.05 if kind == "square" else 0.035
  for s in (-1, 1):
    lens = on_face(frame, s * spacing + x, y, 0.1)
    if sun:
      face.draw.polygon(lens, fill=(40, 38, 48))
      glare = on_face(frame, s * spacing - 0.1 + 0.3 * x, y - 0.05, 0.1)
      face.draw.line(glare[18:28], fill=(110, 112, 130), width=max(1, round(0.03 * frame.unit)))
    line(face, lens + lens[:4], rim, thick)
    ends = np.array([s * (spacing + rx), s * t["head_width"]])
    if s * frame.yaw[0] < 0.25:
      line(face, on_face(frame, ends, [t["eye_height"], t["eye_height"] - 0.03], 0.08), rim, thick)
  bridge = np.array([-1, 0, 1]) * (spacing - rx)
  line(face, on_face(frame, bridge, t["eye_height"] + np.array([0, -0.04, 0]), 0.12), rim, thick)
