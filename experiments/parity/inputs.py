"""The inputs of both sides: weights, pictures and strings, from numpy and Pillow alone."""

import hashlib
import importlib.resources
import string

import numpy as np
from PIL import Image

TEXTS = (
  "Fatime Fossi's phone number is +237 57483907",
  "a photo of a cat",
  "IBAN CM98 7411 9112 4845 5134 71, e-mail ffossi@mailhub.com",
)
SEED = 0  # of the weights of the stored embeddings
SHOWN = (
  "china.jpg 0.33",
  "flower.jpg 1.00",
  "china.jpg 3.00",
)  # the pictures of the stored embeddings
# Width over height; published pictures have 0.33 to 3.00.
ASPECTS = (0.33, 0.5, 0.67, 0.75, 1.0, 1.33, 1.5, 2.0, 3.0)
SIZES = ((224, 224), (97, 131), (225, 223), (513, 342), (300, 100), (31, 30))


def draw(shapes, seed):
  """Random weights for an OpenCLIP `CLIP`, at the magnitude of a trained model's.

  Args:
    shapes: {tensor name: shape}.
    seed: of numpy's generator; the order of names does not matter.

  Returns:
    {tensor name: float32 array}.
  """
  tensors = {}
  for at, name in enumerate(sorted(shapes)):
    shape = shapes[name]
    noise = np.random.default_rng([seed, at]).standard_normal(shape, np.float32)
    mean, deviation = _moments(name, shape)
    tensors[name] = np.asarray(mean + deviation * noise, np.float32)
  return tensors


def _moments(name, shape):
  if name == "logit_scale":
    return np.float32(np.log(1 / 0.07)), np.float32(0.1)
  if "ln_" in name:
    return np.float32(name.endswith("weight")), np.float32(0.1)
  if name.endswith("bias") or "embedding" in name:
    return np.float32(0), np.float32(0.02)
  fan_in = np.prod(shape[1:]) if name.endswith("weight") else shape[0]
  return np.float32(0), np.float32(fan_in**-0.5)


def summary(shapes):
  """The goldens' summary of {tensor name: shape}: counts and a digest."""
  lines = sorted(f"{name} {list(shape)}" for name, shape in shapes.items())
  return {
    "tensors": len(lines),
    "parameters": sum(int(np.prod(shape)) for shape in shapes.values()),
    "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
  }


def sampled(pixels):
  """The part of a picture's pixels that the goldens store."""
  return pixels[::23, ::23]


def crops():
  """(name, PIL image) of two photographs, cut to ASPECTS and to SIZES, up- and downscaled."""
  pictures = []
  for file in ("china.jpg", "flower.jpg"):
    with importlib.resources.files("sklearn.datasets.images").joinpath(file).open("rb") as opened:
      photograph = Image.open(opened).convert("RGB")
    width, height = photograph.size
    for aspect in ASPECTS:
      cut = min(width, round(height * aspect)), min(height, round(width / aspect))
      pictures.append((f"{file} {aspect:.2f}", photograph.crop((0, 0, *cut))))
    for cut in SIZES:
      pictures.append(
        (f"{file} {cut[0]}x{cut[1]}", photograph.crop((20, 30, 20 + cut[0], 30 + cut[1])))
      )
  return pictures


# strings() joins whole pieces, and characters drawn from alphabets.
_PIECES = (
  *("&amp;", "&lt;b&gt;", "&eacute;", "&#39;", "&amp;amp;", "&copy 1", "&nbsp;"),
  *("it's", "they'LL", "@mail.com", "IBAN", "O+", "https://", "'", " ", "\t\n"),
  *(
    "Ã©",
    "â€™",
    "ﬁ",
    "\u201cx\u201d",
    "\u2019s",
    "e\u0301",
    "ß",
    "İ",
    "\u200b",
    "\xa0",
    "\x00",
    "²",
  ),
  *("中文", "عربي", "😀", "👩\u200d👧", "🇨🇲"),
)
_ALPHABETS = (
  string.ascii_letters,
  string.digits + "+- ()",
  string.punctuation + " ",
  *("".join(map(chr, range(*span))) for span in ((0xA1, 0x250), (0x370, 0x500), (0x2000, 0x2070))),
)


def strings(count, seed):
  """Strings of pieces that occur in captions or break tokenizers."""
  rng = np.random.default_rng(seed)

  def piece():
    alphabet = list(_ALPHABETS[rng.integers(len(_ALPHABETS))])
    drawn = "".join(rng.choice(alphabet, rng.integers(1, 12)))
    return _PIECES[rng.integers(len(_PIECES))] if rng.integers(3) == 0 else drawn

  return [
    "".join(piece() + " " * rng.integers(2) for _ in range(rng.integers(40))) for _ in range(count)
  ]
