"""Floating-point operations of CLIP by its sizes: what the mathematics asks for, recomputation left
out.

A multiplication and an addition count as two. Only products of matrices count, as usual for model
FLOPs utilisation (Chowdhery et al., PaLM, appendix B); XLA's own count sees the body of a scan
once.
"""


def image(sizes):
  """Of embedding one image."""
  width, patches = sizes.vision.width, (sizes.image_size // sizes.patch_size) ** 2
  first = 2 * patches * 3 * sizes.patch_size**2 * width
  return first + _blocks(sizes.vision, patches + 1) + 2 * width * sizes.embed_dim


def text(sizes):
  """Of embedding one text."""
  return _blocks(sizes.text, sizes.context_length) + 2 * sizes.text.width * sizes.embed_dim


def _blocks(tower, length):
  products = 2 * length * tower.width**2 * (3 + 1 + 4 + 4)
  attention = 2 * 2 * length**2 * tower.width
  return tower.layers * (products + attention)


def training_step(sizes, pairs):
  """Of a contrastive step on so many pairs: forward once, backward twice as much."""
  scores = 2 * pairs**2 * sizes.embed_dim
  return 3 * (pairs * (image(sizes) + text(sizes)) + scores)
