"""Draws a portrait's hair, behind and before the head, its beard and its hat."""

from typing import NamedTuple

import numpy as np

from salmu_jax.generate.backdrops import COLOURS, dark, light, mix
from salmu_jax.generate.faces import Face, line
from salmu_jax.generate.geometry import blob, head_outline, mirrored, on_face, outline, smooth


class Style(NamedTuple):
  """A hair style.

  Attributes:
    hairline: a key of HAIRLINES, "" for none.
    volume: relative distance from the head.
    length: head units from the middle of the head down to its end; 0 for short hair.
    extra: "waves", "curls", "tail", "bun", "braids", "tuft", "cropped" or "".
    words: its phrase in a caption, with {} for its colour.
    hatted: its phrase under a hat.
  """

  hairline: str
  volume: float
  length: float
  extra: str
  words: str
  hatted: str


SHORT = "short {} hair"
STYLES = {
  "long": Style("centre", 0.9, 1.75, "", "long straight {} hair", "long straight {} hair"),
  "wavy": Style("side", 1.3, 1.6, "waves", "long wavy {} hair", "long wavy {} hair"),
  "bob": Style("fringe", 1.1, 0.85, "", "{} hair in a bob", "chin-length {} hair"),
  "ponytail": Style("swept", 0.6, 0.0, "tail", "{} hair in a ponytail", "{} hair in a ponytail"),
  "bun": Style("swept", 0.6, 0.0, "bun", "{} hair in a bun", "tied-back {} hair"),
  "curly": Style("centre", 1.2, 0.9, "curls", "curly {} hair", "curly {} hair"),
  "pixie": Style("side", 0.9, 0.0, "", "short {} hair", SHORT),
  "braids": Style("centre", 0.7, 0.0, "braids", "{} hair in braids", "{} hair in braids"),
  "fringe": Style("fringe", 1.0, 1.45, "", "long {} hair with a fringe", "long {} hair"),
  "short": Style("centre", 0.8, 0.0, "", "short {} hair", SHORT),
  "parted": Style("side", 1.0, 0.0, "", "side-parted {} hair", SHORT),
  "quiff": Style("swept", 0.8, 0.0, "tuft", "swept-up {} hair", SHORT),
  "curls": Style("centre", 0.8, 0.0, "curls", "short curly {} hair", "short curly {} hair"),
  "cropped": Style("centre", 0.0, 0.0, "cropped", "a {} buzz cut", "very short {} hair"),
  "receding": Style("receding", 0.4, 0.0, "", "receding {} hair", SHORT),
  "mop": Style("fringe", 1.1, 0.0, "", "straight {} hair over the forehead", SHORT),
  "shoulder": Style("side", 0.9, 1.15, "", "shoulder-length {} hair", "shoulder-length {} hair"),
  "bald": Style("", 0.0, 0.0, "", "a bald head", "no visible hair"),
}
# Hairlines from the left temple to the right: x in half head widths, y in forehead heights
# (1 is the hairline, 0 the middle of the head). "side" is mirrored by the parting.
HAIRLINES = {
  "centre": (
    (-0.95, 0.1),
    (-0.8, 0.72),
    (-0.4, 1.0),
    (0, 1.1),
    (0.4, 1.0),
    (0.8, 0.72),
    (0.95, 0.1),
  ),
  "side": (
    (-0.95, 0.1),
    (-0.85, 0.42),
    (-0.4, 0.62),
    (0.1, 0.9),
    (0.4, 1.2),
    (0.75, 0.8),
    (0.95, 0.1),
  ),
  "fringe": (
    (-0.95, 0.0),
    (-0.86, 0.36),
    (-0.4, 0.52),
    (0, 0.56),
    (0.4, 0.52),
    (0.86, 0.36),
    (0.95, 0.0),
  ),
  "swept": (
    (-0.95, 0.1),
    (-0.86, 0.6),
    (-0.5, 1.05),
    (0, 1.16),
    (0.5, 1.05),
    (0.86, 0.6),
    (0.95, 0.1),
  ),
  "receding": (
    (-0.95, 0.1),
    (-0.88, 0.6),
    (-0.55, 1.45),
    (0, 1.12),
    (0.55, 1.45),
    (0.88, 0.6),
    (0.95, 0.1),
  ),
}


def style_of(face: Face) -> tuple[Style, float]:
  """The identity's style and its volume in head units; a hat flattens the hair."""
  style = STYLES[face.identity.hair_style]
  volume = (0.05 + face.traits["hair_volume"]) * style.volume
  return style, min(volume, 0.06) if face.nuisance.hat else volume


def end_of(face: Face, style: Style) -> float:
  """The y at which long hair ends: the length of the style, stretched by the person's own."""
  return style.length * face.traits["hair_length"]


def _dome(face, grow, start=0.0, count=19):
  """An arc over the crown, `grow` outside the head, from right to left: two arrays."""
  angle = np.linspace(start, np.pi - start, count)
  top = face.traits["head_height"] + grow
  return (face.traits["head_width"] + grow) * np.cos(angle), -top * np.sin(angle) ** 0.85


def _edge(face, style, volume, top, end, count=9):
  """The outer right edge of long hair from y = top to y = end: two arrays."""
  y = np.linspace(top, end, count)
  x = face.traits["head_width"] + volume * (1.0 + 0.35 * (y > 0.3))
  if style.extra == "waves":
    x = x + (0.03 + 0.06 * face.traits["wave"]) * np.sin(7.5 * y)
  return x, y


def draw_back_hair(face: Face) -> None:
  """Draws the hair behind head, neck and shoulders."""
  style, volume = style_of(face)
  frame, shade = face.frame, dark(face.hair, 0.28)
  if style.length:
    x, y = _edge(face, style, volume, 0.0, end_of(face, style))
    up_x, up_y = _dome(face, volume)
    points = np.concatenate([x[::-1], up_x, -x]), np.concatenate([y[::-1], up_y, y])
    face.draw.polygon(outline(frame, *points, -0.15), fill=shade)
  if style.extra == "curls" and style.length:
    reach = face.traits["head_width"] + volume
    for k, angle in enumerate(np.linspace(-0.9, np.pi + 0.9, 17)):
      x, y = reach * 1.02 * np.cos(angle), 0.05 - (0.9 + volume) * np.sin(angle)
      curl = blob(x, y, 0.26 + 0.03 * (k % 3), 0.26, 10)
      if not (face.nuisance.hat and y < -0.4):
        face.draw.polygon(outline(frame, *curl, -0.15), fill=shade)
  if style.extra == "bun" and not face.nuisance.hat:
    ball = blob(0.0, -face.traits["head_height"] - 0.14, 0.36, 0.32)
    face.draw.polygon(outline(frame, *ball, -0.2), fill=mix(face.hair, shade, 0.4))
  if style.extra == "tail":
    side = face.identity.parting
    w, end = face.traits["head_width"], 0.6 + 0.9 * face.traits["hair_length"]
    tail = smooth(
      [
        (side * 0.6 * w, -0.7),
        (side * (w + 0.4), -0.55),
        (side * (w + 0.5), 0.1),
        (side * (w + 0.28), end),
        (side * (w + 0.1), 0.1),
      ]
    )
    face.draw.polygon(outline(frame, *tail.T, -0.3), fill=shade)


def _hairline(face, style):
  points = np.array(HAIRLINES[style.hairline])
  if style.hairline == "side" and face.identity.parting < 0:
    points = points[::-1] * (-1, 1)
  points = points * (face.traits["head_width"], -face.traits["forehead"])
  return smooth(points, 4)[: 4 * len(points) - 3]


def _cap(face, style, volume, colour):
  """Draws the hair on top, between the outer dome and the hairline on the face."""
  t, frame = face.traits, face.frame
  burn = 0.16 if style.extra != "cropped" else 0.05
  x, y = _dome(face, volume)
  x = np.concatenate([[t["head_width"] + 0.3 * volume], x, [-t["head_width"] - 0.3 * volume]])
  y = np.concatenate([[burn], y, [burn]])
  inner = _hairline(face, style)
  inner = np.concatenate(
    [[(-0.98 * t["head_width"], burn)], inner, [(0.98 * t["head_width"], burn)]]
  )
  face.draw.polygon(outline(frame, x, y, -0.05) + on_face(frame, *inner.T, 0.02), fill=colour)


def _strands(face, volume):
  """Draws highlights and strands along the dome."""
  shine, shade = light(face.hair, 0.2), dark(face.hair, 0.22)
  room = face.traits["head_height"] + volume - 1.1 * face.traits["forehead"]
  lean = 0.35 if face.nuisance.light_x > 0 else -0.35
  for depth, colour, width in ((0.3, shine, 0.09), (0.55, shade, 0.022), (0.8, shade, 0.022)):
    x, y = _dome(face, volume - depth * room, 0.75, 9)
    keep = slice(0, 6) if lean > 0 else slice(3, 9)
    keep = keep if colour == shine else slice(0, 9)
    points = outline(face.frame, x[keep], y[keep], 0.25)
    line(face, points, colour, width)


def _locks(face, style, volume):
  """Draws long hair before the shoulders, on both sides of the face."""
  w, end = face.traits["head_width"], end_of(face, style)
  x, y = _edge(face, style, volume, -0.3, end)
  inner = w * np.linspace(0.96, 0.72 if style.length > 1 else 0.86, 9)
  if style.extra == "waves":
    inner = inner + 0.05 * np.sin(7.5 * y[::-1])[::-1]
  for s in (-1, 1):
    points = np.concatenate([s * x, s * inner[::-1]]), np.concatenate([y, y[::-1]])
    face.draw.polygon(outline(face.frame, *points, -0.08), fill=face.hair)
    for k, colour in ((0.35, dark(face.hair, 0.22)), (0.7, light(face.hair, 0.14))):
      strand = s * (x * k + inner * (1 - k))
      line(face, outline(face.frame, strand[1:-1], y[1:-1], -0.08), colour, 0.03)


def _curls(face, style, volume):
  tones = face.hair, dark(face.hair, 0.16), light(face.hair, 0.1)
  reach, size = face.traits["head_width"] + 0.5 * volume, 0.13 + 0.35 * volume
  low = -0.75 if style.length else 0.1
  for k, angle in enumerate(np.linspace(low, np.pi - low, 16)):
    x, y = reach * np.cos(angle), -(face.traits["head_height"] + 0.3 * volume) * np.sin(angle)
    if not (face.nuisance.hat and y < -0.3):
      curl = blob(x, y, size, size, 10)
      face.draw.polygon(outline(face.frame, *curl, -0.05), fill=tones[k % 2])
  if not face.nuisance.hat:
    for k, (x, y) in enumerate(_hairline(face, style)[2:-2:2]):
      curl = blob(x * 0.98, y - 0.07, 0.12, 0.11, 9)
      face.draw.polygon(on_face(face.frame, *curl, 0.03), fill=tones[k % 3])


def _braids(face):
  w, tones = face.traits["head_width"], (face.hair, dark(face.hair, 0.2))
  count = 5 + round(4 * (face.traits["hair_length"] - 0.8))
  for s in (-1, 1):
    for k in range(count):
      x, y = s * (w + 0.1 + 0.015 * k), 0.3 + 0.2 * k
      knot = blob(x, y, 0.16 - 0.008 * k, 0.15, 9)
      face.draw.polygon(outline(face.frame, *knot, -0.05), fill=tones[k % 2])


def draw_front_hair(face: Face) -> None:
  """Draws the hair on the head and before the shoulders."""
  style, volume = style_of(face)
  if style.extra == "cropped":
    _cap(face, style, 0.015, mix(face.skin, face.hair, 0.72))
  elif style.hairline:
    if style.length:
      _locks(face, style, volume)
    if style.extra == "braids":
      _braids(face)
    _cap(face, style, volume, face.hair)
    if style.extra == "tuft" and not face.nuisance.hat:
      w, top, lift = (
        face.traits["head_width"],
        face.traits["head_height"],
        0.12 + face.traits["hair_volume"],
      )
      side = face.identity.parting
      tuft = smooth(
        [
          (-0.75 * w, -0.8 * top),
          (-0.5 * side * w, -top - 0.6 * lift),
          (0.4 * side * w, -top - 1.2 * lift),
          (0.85 * w, -0.85 * top),
          (0.0, -1.1 * face.traits["forehead"]),
        ]
      )
      face.draw.polygon(outline(face.frame, *tuft.T, 0.2), fill=light(face.hair, 0.08))
    if style.extra == "curls":
      _curls(face, style, volume)
    elif not face.nuisance.hat:
      _strands(face, volume)


def draw_beard(face: Face) -> None:
  """Draws facial hair, before the mouth is drawn over it."""
  t, frame, kind = face.traits, face.frame, face.identity.facial_hair
  colour = dark(face.hair, 0.08)
  nose = t["eye_height"] + t["nose_length"]
  w, mouth = t["mouth_width"], t["mouth_height"]
  if kind in ("beard", "stubble"):
    rim = head_outline(t)
    rim = rim[rim[:, 1] > 0.1] * ((1.0, 1.0, 1.0) if kind == "stubble" else (1.03, 1.07, 1.0))
    hw = t["head_width"]
    x = np.array([-0.93, -0.8, -0.6, -0.3, 0.0, 0.3, 0.6, 0.8, 0.93]) * hw
    y = np.array([0.1, 0.38, 0.5, nose + 0.09, nose + 0.08, nose + 0.09, 0.5, 0.38, 0.1])
    points = outline(frame, *rim.T) + on_face(frame, x, y)
    face.draw.polygon(points, fill=mix(face.skin, colour, 0.3 if kind == "stubble" else 0.94))
  if kind in ("moustache", "goatee"):
    half = [
      (0, nose + 0.07, 0.1),
      (0.6 * w, nose + 0.09, 0.06),
      (1.15 * w, mouth + 0.03, 0.03),
      (0.6 * w, mouth - 0.02, 0.06),
      (0, mouth - 0.03, 0.1),
    ]
    face.draw.polygon(on_face(frame, *smooth(mirrored(half), 3).T), fill=colour)
  if kind == "goatee":
    chin = t["chin_length"]
    half = [
      (0, mouth + 0.12, 0),
      (0.55 * w, mouth + 0.14, 0),
      (0.9 * w, 0.88 * chin, 0),
      (0.5 * w, 1.07 * chin, 0),
      (0, 1.1 * chin, 0),
    ]
    x, y, z = smooth(mirrored(half), 3).T
    face.draw.polygon(on_face(frame, x, y, z), fill=colour)


def _brim(face, reach, tall, y, colour):
  face.draw.polygon(outline(face.frame, *blob(0.0, y, reach, tall, 24), 0.1), fill=colour)


def _crown(face, y, rise, narrow, colour, band):
  """Draws the crown of a hat, from y up to `rise` above the head, with a band."""
  w, top = face.traits["head_width"] + 0.08, face.traits["head_height"] + rise
  half = [(0, -top + 0.03, 0), (0.45 * w * narrow, -top, 0), (w * narrow, -top + 0.16, 0)]
  shape = outline(face.frame, *smooth(mirrored([*half, (w, y, 0), (0, y + 0.12, 0)]), 4).T)
  face.draw.polygon(shape, fill=colour)
  x = w * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
  low = y + np.array([0.0, 0.07, 0.09, 0.07, 0.0])
  strip = np.concatenate([x, x[::-1]]), np.concatenate([low, low[::-1] - 0.16])
  face.draw.polygon(outline(face.frame, *strip, 0.02), fill=band)


def draw_hat(face: Face) -> None:
  """Draws the hat of the nuisance over the hair."""
  kind, cloth = face.nuisance.hat, COLOURS[face.nuisance.hat_colour]
  y, w, top = (
    -0.5 * face.traits["head_height"],
    face.traits["head_width"],
    face.traits["head_height"],
  )
  if kind == "straw hat":
    straw = (228, 194, 122)
    _brim(face, 1.32, 0.24, y, dark(straw, 0.14))
    _brim(face, 1.28, 0.19, y - 0.03, straw)
    _crown(face, y - 0.04, 0.2, 0.8, light(straw, 0.12), dark(cloth, 0.1))
  elif kind == "felt hat":
    _brim(face, 1.08, 0.17, y, dark(cloth, 0.22))
    _crown(face, y - 0.03, 0.24, 0.78, cloth, dark(cloth, 0.5))
  else:
    x, v = _dome(face, 0.12, 0.5)
    ends = np.array([-w - 0.07, -0.6 * w, 0.0, 0.6 * w, w + 0.07])
    low = np.array([y + 0.1, y + 0.03, y, y + 0.03, y + 0.1])
    dome = np.concatenate([x, ends]), np.concatenate([v, low])
    face.draw.polygon(outline(face.frame, *dome, 0.0), fill=cloth)
    if kind == "beanie":
      band = np.concatenate([ends, ends[::-1]]), np.concatenate([low - 0.2, low[::-1] + 0.02])
      face.draw.polygon(outline(face.frame, *band, 0.03), fill=dark(cloth, 0.2))
      face.draw.polygon(outline(face.frame, *blob(0, -top - 0.16, 0.17, 0.15)), fill=light(cloth))
    else:
      line(face, outline(face.frame, [0, 0], [-top - 0.12, y], 0.2), dark(cloth, 0.25), 0.03)
      visor = np.array(
        [
          (-0.8 * w, y, 0.5),
          (0.8 * w, y, 0.5),
          (0.75 * w, y + 0.1, 0.9),
          (0.0, y + 0.17, 1.0),
          (-0.75 * w, y + 0.1, 0.9),
        ]
      )
      face.draw.polygon(outline(face.frame, *smooth(visor, 5).T), fill=dark(cloth, 0.32))
