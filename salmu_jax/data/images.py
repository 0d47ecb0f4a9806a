"""Pictures as CLIP reads them: decode, resize and crop on the host, normalise on the device."""

import io
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, UnidentifiedImageError

from salmu_jax.errors import InputError

# Statistics of CLIP's training pictures (OpenAI CLIP, MIT), as OpenCLIP uses them.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# What a picture may have at most: pixels, and times that one side is longer than the other.
MOST_PIXELS, MOST_ASPECT = 10**8, 100
# Pillow's own bound is this one, of which it need not warn: what is larger is refused here.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
# As Pillow calls grey of 16 and of 32 bits; formats that have 16 where it says 32; TIFF's tag.
_SIXTEEN_BITS, _WIDE = ("I;16", "I;16L", "I;16B", "I;16N"), "I"
_NEVER_WIDER, _BITS_TAG = ("PNG", "PPM"), 258


def decode(data: bytes, where: str) -> Image.Image:
  """Encoded bytes -> PIL RGB image, as torchvision's ImageFolder and webdataset's "pilrgb" load it.

  Grey pictures of 16 bits are scaled to 8, which those libraries clip instead. Values in 32 bits
  are of 8 bits if none is above 255, else of 16.

  Args:
    data: the encoded picture of a row.
    where: names the row in an error.

  Raises:
    InputError: the bytes are no picture, or one that is too large, too narrow or of floats.
  """
  if not data:
    raise InputError(f"The image of {where} is empty: there are no bytes of a picture.")
  try:
    with Image.open(io.BytesIO(data)) as image:
      _check_shape(image, where)
      # Decoded in place: `convert` would copy a picture that is RGB already.
      image.load()
      return _rgb(image, where)
  except InputError:
    raise
  except Image.DecompressionBombError as error:  # twice as many, or a picture within the picture
    raise InputError(
      f"The image of {where} has more than {MOST_PIXELS:,} pixels; these are the most. "
      "Scale it down."
    ) from error
  except Exception as error:  # Each decoder has errors of its own.
    # Pillow's words name an object in memory.
    unknown = isinstance(error, UnidentifiedImageError)
    reason = "it is not a picture of a known format" if unknown else error
    raise InputError(
      f"The image of {where} cannot be decoded ({reason}). Restore the release from its source, or "
      "remove the row."
    ) from error


def _check_shape(image, where):
  """Raises InputError for a picture that would take much memory, before it is decoded."""
  width, height = image.size
  if width * height > MOST_PIXELS:
    raise InputError(
      f"The image of {where} has {width:,} x {height:,} pixels; {MOST_PIXELS:,} are the most. "
      "Scale it down."
    )
  if max(width, height) > MOST_ASPECT * min(width, height):
    raise InputError(
      f"The image of {where} has {width:,} x {height:,} pixels; one side may be at most "
      f"{MOST_ASPECT} times as long as the other. Crop it."
    )


def _rgb(image, where):
  """A decoded picture as RGB of 8 bits."""
  if image.mode == "RGB":
    return image
  if image.mode == "F":
    raise InputError(f"The image of {where} holds floats. Save it with 8 or 16 bits a channel.")
  if image.mode in (*_SIXTEEN_BITS, _WIDE):
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
      raise InputError(f"The image of {where} has values beyond 16 bits. Save it with 8 or 16.")
    scale = 1 if _is_wide(image) and grey.max() <= 255 else 257
    image = Image.fromarray((grey // scale).astype(np.uint8))
  return image.convert("RGB")


def _is_wide(image):
  """Whether a grey picture has more than 16 bits, so that only its values say how many are used."""
  bits = getattr(image, "tag_v2", {}).get(_BITS_TAG, (32,))
  return image.mode == _WIDE and image.format not in _NEVER_WIDER and max(bits) > 16


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
