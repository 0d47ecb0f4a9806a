"""The surroundings of a portrait's head: the scene behind it and the clothes below it."""

from typing import NamedTuple

import numpy as np
from PIL import ImageDraw

Colour = tuple[int, int, int]  # RGB, 0 to 255

COLOURS = {
  "red": (196, 52, 52),
  "orange": (228, 128, 48),
  "yellow": (238, 200, 84),
  "green": (74, 140, 84),
  "blue": (62, 104, 184),
  "purple": (124, 82, 160),
  "pink": (230, 142, 168),
  "white": (238, 236, 230),
  "grey": (138, 142, 150),
  "black": (42, 42, 50),
}
WALLS = ("blue", "green", "yellow", "orange", "pink", "purple", "grey", "white")


def mix(a: Colour, b: Colour, t: float) -> Colour:
  """The colour a fraction t of the way from colour a to colour b."""
  return tuple(round(p + (q - p) * t) for p, q in zip(a, b, strict=True))


def light(colour: Colour, t: float = 0.3) -> Colour:
  """The colour mixed with a share t of white."""
  return mix(colour, (255, 255, 255), t)


def dark(colour: Colour, t: float = 0.3) -> Colour:
  """The colour mixed with a share t of a bluish black."""
  return mix(colour, (12, 8, 20), t)


def _bands(draw, width, height, top, bottom, start=0.0, end=1.0, steps=24):
  """Fills the rows from start to end (fractions of the height) with a vertical gradient."""
  edges = np.linspace(start * height, end * height, steps + 1).round().astype(int).tolist()
  for k in range(steps):
    colour = mix(top, bottom, k / (steps - 1))
    draw.rectangle((0, edges[k], width, edges[k + 1]), fill=colour)


def _plain(draw, width, height, unit, colour, rng):
  draw.rectangle((0, 0, width, height), fill=light(colour, rng.uniform(0.15, 0.45)))


def _studio(draw, width, height, unit, colour, rng):
  ends = light(colour, 0.5), dark(colour, 0.35)
  _bands(draw, width, height, *(ends if rng.random() < 0.5 else ends[::-1]))


def _bricks(draw, width, height, unit, colour, rng):
  brick = mix(colour, (150, 96, 74), 0.45)
  draw.rectangle((0, 0, width, height), fill=light(brick, 0.4))
  tall, wide = unit * rng.uniform(0.075, 0.1), unit * rng.uniform(0.2, 0.26)
  gap = max(1.0, unit * 0.008)
  rows, columns = int(height / tall) + 1, int(width / wide) + 2
  shades = [light(brick, t) if t > 0 else dark(brick, -t) for t in rng.uniform(-0.25, 0.12, 16)]
  picks = rng.integers(16, size=(rows, columns)).tolist()
  for r in range(rows):
    for c in range(columns):
      x, y = (c - 0.5 * (r % 2)) * wide, r * tall
      draw.rectangle((x + gap, y + gap, x + wide - gap, y + tall - gap), fill=shades[picks[r][c]])


def _tiles(draw, width, height, unit, colour, rng):
  draw.rectangle((0, 0, width, height), fill=(236, 236, 232))
  size = unit * rng.uniform(0.13, 0.18)
  gap = max(1.0, unit * 0.007)
  shades = [light(colour, t) for t in (0.25, 0.35, 0.42)]
  for r in range(int(height / size) + 1):
    for c in range(int(width / size) + 1):
      x, y = c * size, r * size
      fill = shades[(r * 5 + c * 3) % 3]
      draw.rectangle((x + gap, y + gap, x + size - gap, y + size - gap), fill=fill)


def _bookshelf(draw, width, height, unit, colour, rng):
  wood = (112, 74, 48)
  draw.rectangle((0, 0, width, height), fill=dark(wood, 0.55))
  shelf = unit * rng.uniform(0.24, 0.3)
  spines = [mix(c, wood, 0.25) for c in COLOURS.values()]
  for r in range(int(height / shelf) + 1):
    base, x = (r + 0.9) * shelf, 0.0
    while x < width:
      thick, tall = rng.uniform(0.03, 0.07) * unit, rng.uniform(0.6, 0.84) * shelf
      fill = spines[int(rng.integers(len(spines)))]
      draw.rectangle((x, base - tall, x + thick - unit * 0.006, base), fill=fill)
      draw.rectangle((x, base - 0.7 * tall, x + thick, base - 0.62 * tall), fill=light(fill, 0.4))
      x += thick
    draw.rectangle((0, base, width, base + 0.1 * shelf), fill=wood)


def _circle(draw, x, y, r, fill):
  draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _park(draw, width, height, unit, colour, rng):
  _bands(draw, width, height, (120, 184, 232), (206, 232, 244), 0.0, 0.65)
  draw.rectangle((0, 0.6 * height, width, height), fill=(112, 172, 84))
  for x in np.arange(-0.1 * unit, width + 0.1 * unit, 0.2 * unit) + rng.uniform(0, 0.1) * unit:
    y, r = 0.6 * height - rng.uniform(0.0, 0.22) * unit, rng.uniform(0.13, 0.2) * unit
    draw.rectangle((x - 0.02 * unit, y, x + 0.02 * unit, 0.66 * height), fill=(96, 70, 48))
    green = mix((44, 110, 62), (120, 168, 70), rng.random())
    _circle(draw, x, y, r, green)
    _circle(draw, x - 0.3 * r, y - 0.3 * r, 0.55 * r, light(green, 0.14))


def _forest(draw, width, height, unit, colour, rng):
  _bands(draw, width, height, (166, 196, 160), (64, 98, 66))
  for layer in range(2):
    green = ((76, 124, 88), (34, 78, 58))[layer]
    for x in np.arange(0, width + 0.2 * unit, 0.19 * unit) + rng.uniform(-0.1, 0.1) * unit:
      top = height * rng.uniform(0.02, 0.3) + 0.12 * layer * height
      for k in range(3):
        y, w = top + k * 0.22 * unit, (0.07 + 0.045 * k) * unit
        draw.polygon((x, y, x - w, y + 0.32 * unit, x + w, y + 0.32 * unit), fill=green)
      draw.rectangle((x - 0.014 * unit, y, x + 0.014 * unit, height), fill=dark(green, 0.3))


def _beach(draw, width, height, unit, colour, rng):
  horizon = rng.uniform(0.42, 0.55)
  _bands(draw, width, height, (92, 174, 232), (214, 238, 246), 0.0, horizon)
  _circle(draw, rng.uniform(0, 1) * width, 0.14 * height, 0.08 * unit, (255, 240, 176))
  _bands(draw, width, height, (30, 118, 170), (98, 198, 204), horizon, horizon + 0.18, 8)
  draw.rectangle((0, (horizon + 0.18) * height, width, height), fill=(236, 212, 158))
  foam = (horizon + 0.18) * height
  draw.rectangle((0, foam, width, foam + 0.02 * unit), fill=(250, 250, 246))


def _mountains(draw, width, height, unit, colour, rng):
  _bands(draw, width, height, (150, 190, 228), (238, 226, 214), 0.0, 0.8)
  for x in np.arange(0, width + 0.4 * unit, 0.38 * unit) + rng.uniform(-0.2, 0.1) * unit:
    top, wide = height * rng.uniform(0.1, 0.34), rng.uniform(0.32, 0.45) * unit
    foot, cap = 0.8 * height, 0.3
    draw.polygon((x, top, x - wide, foot, x + wide, foot), fill=(104, 116, 148))
    draw.polygon((x, top, x + 0.25 * wide, foot, x + wide, foot), fill=(84, 94, 126))
    y, w = top + cap * (foot - top), cap * wide
    draw.polygon((x, top, x - w, y, x - 0.3 * w, y * 0.97, x + w, y), fill=(246, 248, 252))
  draw.rectangle((0, 0.8 * height, width, height), fill=(92, 128, 92))


def _skyline(draw, width, height, unit, rng, sky, walls, panes):
  """Two rows of buildings with windows before a sky gradient."""
  _bands(draw, width, height, *sky)
  for layer, wall in enumerate(walls):
    x = -0.1 * unit * layer
    while x < width:
      wide, top = rng.uniform(0.14, 0.24) * unit, height * rng.uniform(0.1, 0.45) + layer * 0.1
      draw.rectangle((x, top, x + wide, height), fill=wall)
      if layer:
        lit = rng.integers(len(panes), size=64).tolist()
        for k in range(3 * int((height - top) / (0.09 * unit))):
          a, b = x + (0.16 + 0.27 * (k % 3)) * wide, top + (0.04 + 0.09 * (k // 3)) * unit
          box = (a, b, a + 0.15 * wide, b + 0.04 * unit)
          draw.rectangle(box, fill=panes[lit[k % 64]])
      x += wide + rng.uniform(0.0, 0.07) * unit


def _city(draw, width, height, unit, colour, rng):
  sky, walls = ((134, 186, 226), (226, 232, 232)), ((168, 180, 196), (122, 128, 142))
  _skyline(draw, width, height, unit, rng, sky, walls, ((176, 206, 224), (206, 224, 232)))


def _night(draw, width, height, unit, colour, rng):
  sky, walls = ((14, 16, 48), (84, 52, 98)), ((40, 38, 74), (22, 22, 44))
  _skyline(draw, width, height, unit, rng, sky, walls, ((252, 214, 120), (52, 52, 84)))


def _window(draw, width, height, unit, colour, rng):
  draw.rectangle((0, 0, width, height), fill=light(colour, 0.45))
  half, x, y = 0.42 * unit, width * rng.uniform(0.3, 0.7), 0.42 * height
  draw.rectangle((x - half, y - half, x + half, y + half), fill=(250, 250, 248))
  pane = 0.36 * unit
  for a in (x - pane, x + 0.02 * unit):
    for b in (y - pane, y + 0.02 * unit):
      draw.rectangle((a, b, a + 0.34 * unit, b + 0.34 * unit), fill=(158, 206, 238))
      draw.rectangle((a, b + 0.24 * unit, a + 0.34 * unit, b + 0.34 * unit), fill=(140, 190, 132))
  draw.rectangle((x - half, y + half, x + half, y + half + 0.04 * unit), fill=(216, 212, 204))


def _curtain(draw, width, height, unit, colour, rng):
  fold = unit * rng.uniform(0.1, 0.16)
  stripes = [dark(colour, 0.28), dark(colour, 0.1), light(colour, 0.08), dark(colour, 0.1)]
  for k in range(int(4 * width / fold) + 1):
    x = k * fold / 4
    draw.rectangle((x, 0, x + fold / 4 + 1, height), fill=stripes[k % 4])


def _lights(draw, width, height, unit, colour, rng):
  _bands(draw, width, height, dark(colour, 0.7), dark(colour, 0.45))
  count = int(14 * width * height / unit**2)
  for x, y, r, t in rng.random((count, 4)).tolist():
    glow = mix(light(colour, 0.2), (255, 206, 122), t)
    _circle(draw, x * width, y * height, (0.03 + 0.06 * r) * unit, mix(dark(colour), glow, 0.8))


# family: (phrase in a caption, colours to choose from, drawing function)
BACKDROPS = {
  "plain": ("a plain {} wall", WALLS, _plain),
  "studio": ("a {} studio backdrop", WALLS, _studio),
  "bricks": ("a {} brick wall", ("red", "grey", "white", "yellow"), _bricks),
  "tiles": ("a wall of {} tiles", ("blue", "green", "orange", "pink"), _tiles),
  "bookshelf": ("a bookshelf", ("",), _bookshelf),
  "park": ("a green park", ("",), _park),
  "forest": ("a forest", ("",), _forest),
  "beach": ("a sunny beach", ("",), _beach),
  "mountains": ("snowy mountains", ("",), _mountains),
  "city": ("a city skyline", ("",), _city),
  "night": ("a city at night", ("",), _night),
  "window": ("a window in a {} wall", WALLS, _window),
  "curtain": ("a {} curtain", ("red", "green", "blue", "purple"), _curtain),
  "lights": ("blurred {} lights", ("red", "blue", "purple", "orange", "green"), _lights),
}


def draw_backdrop(
  draw: ImageDraw.ImageDraw,
  width: int,
  height: int,
  unit: int,
  family: str,
  colour: str,
  seed: int,
) -> None:
  """Fills a canvas with a backdrop.

  Args:
    draw: the canvas.
    width: of the canvas, pixels.
    height: of the canvas, pixels.
    unit: the side of its central square, pixels.
    family: a key of BACKDROPS.
    colour: one of the family's colours.
    seed: of the layout.
  """
  rng = np.random.default_rng(seed)
  BACKDROPS[family][2](draw, width, height, unit, COLOURS.get(colour), rng)


# The torso's right outline in head units, from the neck to below the edge of any picture.
TORSO = (
  (0.45, 1.2),
  (0.95, 1.36),
  (1.32, 1.52),
  (1.55, 1.86),
  (1.68, 2.6),
  (1.9, 9.0),
)


class Body(NamedTuple):
  """The place of a body.

  Attributes:
    x: of the origin, pixels.
    y: of the origin, pixels.
    unit: pixels of a head unit.
    neck: half its width, head units.
  """

  x: float
  y: float
  unit: float
  neck: float

  def __call__(self, points):
    """Maps points (N, 2) in head units to flat pixel coordinates."""
    return (np.asarray(points) * self.unit + (self.x, self.y)).ravel().tolist()


def _collar(draw, at, fill, spread):
  for s in (-1, 1):
    corners = ((0.4 * s, 1.14), (spread * s, 1.44), (0.02 * s, 1.56), (0.3 * s, 1.26))
    draw.polygon(at(corners), fill=fill)


def _neckline(draw, at, skin, wide, deep):
  angle = np.linspace(0, np.pi, 16)
  draw.polygon(at(np.stack([wide * np.cos(angle), 1.2 + deep * np.sin(angle)], 1)), fill=skin)


def _torso(draw, at, shoulders, fill):
  half = [(x * (shoulders if x > 0.5 else 1.0), y) for x, y in TORSO]
  draw.polygon(at(half + [(-x, y) for x, y in half[::-1]]), fill=fill)


def _bands_across(draw, at, shoulders, rows, fill, width):
  heights, halves = [y for _, y in TORSO], [x for x, _ in TORSO]
  for y in rows:
    half = np.interp(y - 0.04, heights, halves) * shoulders
    draw.line(at(((-half, y), (half, y))), fill=fill, width=width)


def draw_clothes(
  draw: ImageDraw.ImageDraw, at: Body, kind: str, colour: str, skin: Colour, shoulders: float
) -> None:
  """Draws the upper body.

  Args:
    draw: the canvas.
    at: the place of the body.
    kind: a garment of portraits.WARDROBE.
    colour: a key of COLOURS.
    skin: colour of the neck.
    shoulders: their relative width, about 1.
  """
  cloth = COLOURS[colour]
  if kind == "hoodie":
    hood = ((-0.75, 1.3), (-0.6, 0.85), (0.6, 0.85), (0.75, 1.3))
    draw.polygon(at(hood), fill=dark(cloth, 0.22))
  neck = [(-at.neck, 0.4), (at.neck, 0.4), (at.neck * 1.12, 1.35), (-at.neck * 1.12, 1.35)]
  draw.polygon(at(neck), fill=skin)
  _torso(draw, at, shoulders, cloth)
  _garment(draw, at, kind, cloth, skin, shoulders)


def _garment(draw, at, kind, cloth, skin, shoulders):
  """Draws neckline, collar and pattern of a garment on the torso."""
  deep, pale = dark(cloth, 0.22), light(cloth, 0.25)
  thin, line = max(1, round(at.unit * 0.03)), max(1, round(at.unit * 0.06))
  if kind in ("shirt", "blouse"):
    _neckline(draw, at, skin, 0.34, 0.26)
    draw.line(at(((0, 1.45), (0, 4))), fill=deep, width=thin)
    _collar(draw, at, pale, 0.4)
  elif kind in ("suit", "blazer"):
    _jacket(draw, at, skin, cloth, tie=kind == "suit")
  elif kind == "sweater":
    _neckline(draw, at, deep, 0.52, 0.3)
    _neckline(draw, at, skin, 0.42, 0.2)
    _bands_across(draw, at, shoulders, (1.75, 1.95), pale, line)
  elif kind == "hoodie":
    _neckline(draw, at, deep, 0.55, 0.36)
    _neckline(draw, at, skin, 0.36, 0.22)
    for s in (-0.2, 0.2):
      draw.line(at(((s, 1.5), (s, 1.9))), fill=light(cloth, 0.6), width=thin)
  elif kind == "turtleneck":
    wide = at.neck * 1.25
    draw.polygon(
      at(((-wide, 1.0), (wide, 1.0), (wide * 1.15, 1.4), (-wide * 1.15, 1.4))), fill=deep
    )
  elif kind == "dress":
    _neckline(draw, at, skin, 0.78, 0.5)
    for s in (-1, 1):
      draw.line(at(((0.62 * s, 1.2), (0.55 * s, 1.7))), fill=cloth, width=2 * line)
  elif kind == "striped shirt":
    _bands_across(draw, at, shoulders, np.arange(1.4, 4.0, 0.22), light(cloth, 0.7), line)
    _neckline(draw, at, skin, 0.42, 0.24)
  else:
    _neckline(draw, at, deep, 0.46, 0.3)
    _neckline(draw, at, skin, 0.42, 0.25)


def _jacket(draw, at, skin, cloth, tie):
  draw.polygon(at(((-0.42, 1.14), (0.42, 1.14), (0.0, 2.3))), fill=(240, 240, 238))
  _neckline(draw, at, skin, 0.3, 0.2)
  for s in (-1, 1):
    lapel = ((0.45 * s, 1.14), (0.78 * s, 1.5), (0.5 * s, 1.62), (0.02 * s, 2.35))
    draw.polygon(at(lapel), fill=light(cloth, 0.12))
  if tie:
    shape = ((-0.1, 1.4), (0.1, 1.4), (0.06, 1.5), (0.12, 2.1), (-0.12, 2.1), (-0.06, 1.5))
    draw.polygon(at(shape), fill=mix(COLOURS["red"], dark(cloth, 0.22), 0.35))
