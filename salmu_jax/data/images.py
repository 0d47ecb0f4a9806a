"""Images as CLIP reads them: decode, resize and crop on the host, normalise on the device."""

import io
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, UnidentifiedImageError

from salmu_jax.errors import InputError

# Statistics of CLIP's training images (OpenAI CLIP, MIT), as OpenCLIP uses them.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# Maximum number of pixels of an image, and maximum ratio of its sides.
MOST_PIXELS, MOST_ASPECT = 10**8, 100
# Pillow gets the same limit. It need not warn: larger images are refused here.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
# Pillow's modes of 16-bit and 32-bit grey; formats whose 32-bit mode holds 16 bits; TIFF's tag.
_SIXTEEN_BITS, _WIDE = ("I;16", "I;16L", "I;16B", "I;16N"), "I"
_NEVER_WIDER, _BITS_TAG = ("PNG", "PPM"), 258


def decode(data: bytes, where: str) -> Image.Image:
  """Encoded bytes -> PIL RGB image, as torchvision's ImageFolder and webdataset's "pilrgb" load it.

  16-bit grey images are scaled to 8 bits; those libraries clip them instead. 32-bit values count
  as 8-bit if none exceeds 255, else as 16-bit.

  Args:
    data: the encoded image of a row.
    where: names the row in an error.

  Raises:
    InputError: the bytes are not an image, or it is too large, too narrow or holds floats.
  """
  if not data:
    raise InputError(f"The image of {where} is empty: it has 0 bytes.")
  try:
    with Image.open(io.BytesIO(data)) as image:
      _check_shape(image, where)
      # Decoded in place: `convert` would copy an image that is already RGB.
      image.load()
      return _rgb(image, where)
  except InputError:
    raise
  except Image.DecompressionBombError as error:  # over twice as many, or in an embedded image
    raise InputError(
      f"The image of {where} has more than {MOST_PIXELS:,} pixels, the maximum. Scale it down."
    ) from error
  except Exception as error:  # Each decoder has its own errors.
    # Pillow's message names an object in memory.
    unknown = isinstance(error, UnidentifiedImageError)
    reason = "unknown image format" if unknown else error
    raise InputError(
      f"The image of {where} cannot be decoded ({reason}). Restore the release from its source, or "
      "remove the row."
    ) from error


def _check_shape(image, where):
  """Raises InputError for an image that would take too much memory, before it is decoded."""
  width, height = image.size
  if width * height > MOST_PIXELS:
    raise InputError(
      f"The image of {where} has {width:,} x {height:,} pixels; the maximum is {MOST_PIXELS:,}. "
      "Scale it down."
    )
  if max(width, height) > MOST_ASPECT * min(width, height):
    raise InputError(
      f"The image of {where} has {width:,} x {height:,} pixels; one side may be at most "
      f"{MOST_ASPECT} times as long as the other. Crop it."
    )


def _rgb(image, where):
  """A decoded image as 8-bit RGB."""
  if image.mode == "RGB":
    return image
  if image.mode == "F":
    raise InputError(f"The image of {where} holds floats. Save it with 8 or 16 bits per channel.")
  if image.mode in (*_SIXTEEN_BITS, _WIDE):
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
      raise InputError(
        f"The image of {where} has values beyond 16 bits. Save it with 8 or 16 bits per channel."
      )
    scale = 1 if _is_wide(image) and grey.max() <= 255 else 257
    image = Image.fromarray((grey // scale).astype(np.uint8))
  return image.convert("RGB")


def _is_wide(image):
  """Whether a grey image has more than 16 bits, so that only its values show how many are used."""
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
  """A random crop of the central square, mirrored with probability `flip`: (S, S, 3) uint8.

  With an `area` of 1 only the mirroring is random, and the square is cut by `resize_and_crop`, as
  in evaluation. Every `area` draws the same random numbers.

  Args:
    image: an RGB image, or its pixels, (H, W, 3) uint8. With an `area` of 1, these are the output
      of `resize_and_crop`, (S, S, 3).
    size: S, pixels.
    rng: draws the crop, then whether to mirror it.
    area: minimum share of the square to keep, in (0, 1]; 1 keeps all of it.
    flip: probability of mirroring left and right.
  """
  # One call for all four: four calls took as long as the rest of this function's Python code.
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
