"""Pictures as CLIP reads them: decode, resize and crop on the host, normalise on the device."""

import io
import math

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, UnidentifiedImageError

from salmu_jax.errors import InputError

# Statistics of CLIP's training pictures (OpenAI CLIP, MIT), as OpenCLIP uses them.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# Pillow's errors for bytes that are no picture, or for one that is implausibly large.
_PILLOW_ERRORS = (
  UnidentifiedImageError,
  OSError,
  SyntaxError,
  ValueError,
  Image.DecompressionBombError,
)


def decode(data: bytes, where: str) -> Image.Image:
  """Encoded bytes -> PIL RGB image, as torchvision's ImageFolder and webdataset's "pilrgb" load it.

  Args:
    data: the encoded picture of a row.
    where: names the row in an error.

  Raises:
    InputError: the bytes are no picture.
  """
  try:
    with Image.open(io.BytesIO(data)) as image:
      # Decoded in place: `convert` would copy a picture that is RGB already.
      image.load()
      return image if image.mode == "RGB" else image.convert("RGB")
  except _PILLOW_ERRORS as error:
    raise InputError(
      f"The image of {where} cannot be decoded ({error}). Restore the release from its source, or "
      "remove the row."
    ) from error


def resize_and_crop(image: Image.Image, size: int) -> np.ndarray:
  """Shorter side to `size` (bicubic, antialiased), then the central square: (S, S, 3) uint8.

  The longer side and the offsets are rounded as in torchvision's Resize and CenterCrop.
  """
  width, height = image.size
  if width <= height:
    resized = (size, int(size * height / width))
  else:
    resized = (int(size * width / height), size)
  if resized != image.size:
    image = image.resize(resized, Image.Resampling.BICUBIC)
  left, top = corner(*resized, size)
  return np.asarray(image.crop((left, top, left + size, top + size)), np.uint8)


def corner(width: int, height: int, size: int) -> tuple[int, int]:
  """(left, top) of the central square of `size` pixels, rounded as in torchvision's CenterCrop."""
  return round((width - size) / 2), round((height - size) / 2)


def random_crop(
  image: Image.Image | np.ndarray,
  size: int,
  rng: np.random.Generator,
  *,
  area: float,
  flip: float,
) -> np.ndarray:
  """A random part of the central square, sometimes mirrored: (S, S, 3) uint8.

  An `area` of 1 leaves nothing to draw but the mirroring, and the square is cut as in evaluation,
  by `resize_and_crop`; the same numbers are drawn all the same.

  Args:
    image: an RGB image, or its pixels, (H, W, 3) uint8. With an `area` of 1, these are what
      `resize_and_crop` made of it, (S, S, 3).
    size: S, pixels.
    rng: draws the part, then whether to mirror it.
    area: the least share of the square that is kept, in (0, 1]; 1 keeps it whole.
    flip: probability of mirroring left and right.
  """
  # One call for all four: a call for each took as long as the rest of this function in Python.
  kept, across, down, mirror = rng.random(4).tolist()
  if area == 1.0:
    pixels = image if isinstance(image, np.ndarray) else resize_and_crop(image, size)
    return np.ascontiguousarray(pixels[:, ::-1]) if mirror < flip else pixels
  image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
  width, height = image.size
  square = min(width, height)
  side = square * math.sqrt(area + (1.0 - area) * kept)
  left = (width - square) / 2 + (square - side) * across
  top = (height - square) / 2 + (square - side) * down
  box = (left, top, left + side, top + side)
  image = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
  if mirror < flip:
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  return np.asarray(image, np.uint8)


def normalise(pixels: jax.Array | np.ndarray) -> jax.Array:
  """(B, S, S, 3) uint8 -> float32 of about zero mean and unit variance, on the device."""
  mean = jnp.asarray(MEAN)[None, None, None] * 255
  std = jnp.asarray(STD)[None, None, None] * 255
  return (pixels.astype(jnp.float32) - mean) / std
