"""Floating-point operations of CLIP by its sizes, without recomputation.

A multiplication and an addition count as two. Only products of matrices count, as usual for model
FLOPs utilisation (Chowdhery et al., PaLM, appendix B). XLA's own count is no substitute: it counts
the body of a scan once.
"""

from salmu_jax.models.clip import Sizes


def image(sizes: Sizes) -> int:
  """Operations to embed one image."""
  width, patches = sizes.vision.width, (sizes.image_size // sizes.patch_size) ** 2
  first = 2 * patches * 3 * sizes.patch_size**2 * width
  return first + _blocks(sizes.vision, patches + 1) + 2 * width * sizes.embed_dim


def text(sizes: Sizes) -> int:
  """Operations to embed one text."""
  return _blocks(sizes.text, sizes.context_length) + 2 * sizes.text.width * sizes.embed_dim


def _blocks(tower, length):
  products = 2 * length * tower.width**2 * (3 + 1 + 4 + 4)
  attention = 2 * 2 * length**2 * tower.width
  return tower.layers * (products + attention)


def training_step(sizes: Sizes, pairs: int) -> int:
  """Operations of a contrastive step on a batch of pairs; the backward pass counts twice."""
  scores = 2 * pairs**2 * sizes.embed_dim
  return 3 * (pairs * (image(sizes) + text(sizes)) + scores)
