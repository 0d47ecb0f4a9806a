"""Floating-point operations of CLIP by its sizes, without recomputation.

A multiplication and an addition count as two. Only products of matrices count, as usual for model
FLOPs utilisation (Chowdhery et al., PaLM, appendix B). XLA's own count is no substitute: it counts
the body of a scan once.
"""

from salmu_jax.models.clip import Sizes

# Peak FLOPs per second of dense bfloat16 products, by kind of device as JAX names it. From NVIDIA's
# data sheets and, per chip, Google Cloud's TPU system architecture.
PEAKS = {
  "NVIDIA A100-SXM4-40GB": 312e12,
  "NVIDIA A100-SXM4-80GB": 312e12,
  "NVIDIA H100 80GB HBM3": 989.4e12,
  "NVIDIA H200": 989.4e12,
  "TPU v4": 275e12,
  "TPU v5 lite": 197e12,
  "TPU v5": 459e12,
  "TPU v6 lite": 918e12,
}


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
