"""Pictures as CLIP reads them: decode, resize and crop on the host, normalise on the device."""

import io

import jax.numpy as jnp
import numpy as np
from PIL import Image, UnidentifiedImageError

from salmu_jax.errors import InputError

# Statistics of CLIP's training pictures (OpenAI CLIP, MIT), as OpenCLIP uses them.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# What Pillow raises for bytes that are no picture, or one that is too large to be meant.
_NO_IMAGE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def decode(data, where):
  """Encoded bytes -> PIL RGB image, as torchvision's ImageFolder and webdataset's "pilrgb" load it.

  Args:
    data: what a row of a release holds.
    where: names the row in the error.
  """
  try:
    with Image.open(io.BytesIO(data)) as image:
      return image.convert("RGB")
  except _NO_IMAGE as error:
    raise InputError(
      f"The image of {where} cannot be decoded ({error}). Restore the release from its source, or "
      "remove the row."
    ) from error


def resize_and_crop(image, size):
  """Shorter side to `size` (bicubic, antialiased), then the central square: (S, S, 3) uint8.

  Rounding of the longer side and of the offsets as in torchvision's Resize and CenterCrop.
  """
  width, height = image.size
  if width <= height:
    new = (size, int(size * height / width))
  else:
    new = (int(size * width / height), size)
  if new != image.size:
    image = image.resize(new, Image.Resampling.BICUBIC)
  left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
  return np.asarray(image.crop((left, top, left + size, top + size)), np.uint8)


def random_crop(image, size, rng, *, area, flip):
  """A random part of the central square, sometimes mirrored: (S, S, 3) uint8.

  Args:
    rng: a numpy Generator.
    area: the least share of the square that is kept, in (0, 1]; 1 keeps it whole.
    flip: probability of mirroring left and right.
  """
  width, height = image.size
  square = min(width, height)
  side = square * np.sqrt(rng.uniform(area, 1.0))
  left = (width - square) / 2 + rng.uniform(0, square - side)
  top = (height - square) / 2 + rng.uniform(0, square - side)
  box = (left, top, left + side, top + side)
  pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box), np.uint8)
  return np.ascontiguousarray(pixels[:, ::-1]) if rng.uniform() < flip else pixels


def normalise(pixels):
  """(B, S, S, 3) uint8 -> float32 of about zero mean and unit variance, on the device."""
  mean = jnp.asarray(MEAN)[None, None, None] * 255
  std = jnp.asarray(STD)[None, None, None] * 255
  return (pixels.astype(jnp.float32) - mean) / std
