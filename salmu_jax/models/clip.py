"""CLIP's two towers in Flax Linen: pure functions of a parameter dict, OpenCLIP's architecture.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021;
parameter shapes and order of operations as in OpenCLIP's `CLIP` (ViT + causal text transformer).
"""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from salmu_jax.models import leaves, lengths
from salmu_jax.models.attention import ATTENTION
from salmu_jax.models.lengths import Groups

LOGIT_SCALE_INIT = np.log(1 / 0.07)
LOGIT_SCALE_MAX = 100.0
# The initial values of a model with a bias of logits (Zhai et al., arXiv 2303.15343).
LOGIT_SCALE_INIT_WITH_BIAS, LOGIT_BIAS_INIT = np.log(10), -10.0
_TOWERS = ("visual", "text")
# Name -> what a block keeps for the backward pass: everything; its input; its input and the matrix
# products.
REMAT = {
  "none": None,
  "blocks": jax.checkpoint_policies.nothing_saveable,
  "products": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Embeddings(NamedTuple):
  """The embeddings of a batch of pairs: all that losses and metrics see of a model.

  image, text: (B, D) unit rows, float32.
  scale: () inverse temperature, at most 100.
  generic: (B, D) unit rows of the captions without private values; None if the batch has none.
  bias: () added to the scaled cosines, as SigLIP does; None if the model has none.
  surrogate: (B, K, D) unit rows of captions without pictures; None if the batch has none.
  """

  image: jax.Array
  text: jax.Array
  scale: jax.Array
  generic: jax.Array | None = None
  bias: jax.Array | None = None
  surrogate: jax.Array | None = None


class Tower(NamedTuple):
  """The size of one transformer."""

  width: int
  layers: int
  heads: int


class Sizes(NamedTuple):
  """The size of a CLIP model; see `salmu_jax.models.presets`.

  quick_gelu: x * sigmoid(1.702 x) in the blocks, as in OpenAI's own weights, instead of GELU.
  """

  embed_dim: int
  image_size: int
  patch_size: int
  vision: Tower
  text: Tower
  context_length: int = 77
  vocab_size: int = 49408
  quick_gelu: bool = False


def unit(x: jax.Array) -> jax.Array:
  """Rows of `x` (..., D) scaled to length one, in float32."""
  x = x.astype(jnp.float32)
  return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-24)


def _norm(name, dtype):
  # Statistics in float32 (Flax does so), epsilon as in PyTorch.
  return nn.LayerNorm(epsilon=1e-5, dtype=dtype, name=name)


def _gelu(x):
  """The exact GELU, computed in float32.

  By erf, as in PyTorch; JAX's own goes through erfc, which is slower.
  """
  wide = x.astype(jnp.float32)
  return (wide * (0.5 + 0.5 * jax.lax.erf(wide * np.float32(np.sqrt(0.5))))).astype(x.dtype)


def _over_rows(x, kernel, dimensions, **options):
  """(..., W) times (W, F) over rows in one axis, as `jax.lax.dot_general` for `nn.Dense`.

  The gradient of the kernel sums over the rows. If these are in two axes, batch and place, XLA's
  CPU compiler writes a transposed copy of x for it. On a TPU this form moves more memory.
  """
  del dimensions
  rows = x.reshape(-1, x.shape[-1])
  y = jax.lax.dot_general(rows, kernel, (((1,), (0,)), ((), ())), **options)
  return y.reshape(*x.shape[:-1], -1)


class Block(nn.Module):
  """Pre-LN residual attention block. x (S, N, W) -> (S, N, W).

  texts: how the N tokens split into texts with causal attention; None for one sequence with full
    attention.
  flat, attention: see `CLIP`.
  """

  tower: Tower
  dtype: jnp.dtype
  quick_gelu: bool
  flat: bool
  attention: str
  texts: Groups | None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    width, layers, heads = self.tower
    proj_std = width**-0.5 * (2 * layers) ** -0.5

    def dense(features, std, name):
      init = nn.initializers.normal(std)
      multiply = _over_rows if self.flat else None
      options = {"dtype": self.dtype, "kernel_init": init, "dot_general": multiply}
      return nn.Dense(features, name=name, **options)

    y = _norm("ln_1", self.dtype)(x)
    qkv = dense(3 * width, width**-0.5, "in_proj")(y)
    attend = ATTENTION[self.attention]
    if self.texts is None:
      y = attend(qkv, heads, causal=False)
    else:
      parts = [attend(part, heads, causal=True) for part in lengths.split(qkv, self.texts)]
      y = lengths.join(parts, self.texts)
    x = x + dense(width, proj_std, "out_proj")(y)
    y = _norm("ln_2", self.dtype)(x)
    y = dense(4 * width, (2 * width) ** -0.5, "c_fc")(y)
    y = y * nn.sigmoid(1.702 * y) if self.quick_gelu else _gelu(y)
    return x + dense(width, proj_std, "c_proj")(y)


class Transformer(nn.Module):
  """A stack of blocks: unrolled (`block_0` ...) or scanned (`blocks`, a leading layer axis).

  flat, attention, texts: as of `Block`.
  """

  tower: Tower
  dtype: jnp.dtype
  remat: str
  scan: bool
  quick_gelu: bool
  flat: bool
  attention: str
  texts: Groups | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    keep = REMAT[self.remat]
    block = nn.remat(Block, policy=keep, prevent_cse=not self.scan) if keep else Block
    options = (self.tower, self.dtype, self.quick_gelu, self.flat, self.attention, self.texts)
    if not self.scan:
      for i in range(self.tower.layers):
        x = block(*options, name=f"block_{i}")(x)
      return x
    body = nn.scan(
      lambda layer, carry, _: (layer(carry), None),
      variable_axes={"params": 0},
      split_rngs={"params": True},
      length=self.tower.layers,
    )
    x, _ = body(block(*options, name=leaves.SCANNED), x, None)
    return x


class Patches(nn.Module):
  """image (B, S, S, 3) -> (B, N, width): a convolution whose stride is its size.

  Computed as a matrix product, which is faster on CPUs and GPUs than XLA's convolution.
  """

  width: int
  size: int

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    batch, side, _, colors = image.shape
    count, shape = side // self.size, (self.size, self.size, colors, self.width)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape).astype(image.dtype)
    patches = image.reshape(batch, count, self.size, count, self.size, colors)
    patches = patches.transpose(0, 1, 3, 2, 4, 5).reshape(batch * count**2, -1)
    return (patches @ kernel.reshape(-1, self.width)).reshape(batch, -1, self.width)


class Vision(nn.Module):
  """image (B, S, S, 3) -> (B, D)."""

  sizes: Sizes
  dtype: jnp.dtype
  remat: str
  scan: bool
  flat: bool
  attention: str

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    tower = self.sizes.vision
    init = nn.initializers.normal(tower.width**-0.5)
    x = Patches(tower.width, self.sizes.patch_size, name="conv1")(image.astype(self.dtype))
    first = self.param("class_embedding", init, (tower.width,)).astype(self.dtype)
    x = jnp.concatenate([jnp.broadcast_to(first, (x.shape[0], 1, tower.width)), x], axis=1)
    place = self.param("positional_embedding", init, x.shape[1:]).astype(self.dtype)
    x = _norm("ln_pre", self.dtype)(x + place[None])
    options = (tower, self.dtype, self.remat, self.scan)
    options += (self.sizes.quick_gelu, self.flat, self.attention)
    x = Transformer(*options, name="transformer")(x)
    x = _norm("ln_post", self.dtype)(x[:, 0])
    return x @ self.param("proj", init, (tower.width, self.sizes.embed_dim)).astype(self.dtype)


class Text(nn.Module):
  """tokens (B, L) int32, zero padded, end of text the highest id -> (B, D).

  With groups, whose shards make up the batch, each text is cut to the length of its group, which it
  must `lengths.fit`.
  """

  sizes: Sizes
  dtype: jnp.dtype
  remat: str
  scan: bool
  flat: bool
  attention: str

  @nn.compact
  def __call__(self, tokens: jax.Array, groups: Groups | None = None) -> jax.Array:
    tower = self.sizes.text
    texts = groups or lengths.each_alone(tokens)
    packed = lengths.pack(tokens, texts)
    table = nn.Embed(
      self.sizes.vocab_size,
      tower.width,
      dtype=self.dtype,
      embedding_init=nn.initializers.normal(0.02),
      name="token_embedding",
    )
    place = self.param(
      "positional_embedding",
      nn.initializers.normal(0.01),
      (self.sizes.context_length, tower.width),
    )
    x = table(packed.tokens) + place[packed.places][None].astype(self.dtype)
    options = (tower, self.dtype, self.remat, self.scan)
    options += (self.sizes.quick_gelu, self.flat, self.attention)
    x = Transformer(*options, texts, name="transformer")(x)
    x = jnp.take_along_axis(x, packed.ends[..., None], axis=1).reshape(len(tokens), -1)
    x = _norm("ln_final", self.dtype)(x)
    init = nn.initializers.normal(tower.width**-0.5)
    shape = (tower.width, self.sizes.embed_dim)
    return x @ self.param("text_projection", init, shape).astype(self.dtype)


class CLIP(nn.Module):
  """Both towers and the logit scale.

  Args:
    sizes: the architecture.
    dtype: of the computation in the towers; parameters, embeddings and scores stay float32.
    remat: a key of REMAT: what a block keeps for the backward pass; the rest is recomputed.
    scan: whether one traced block serves all layers; parameters get a leading layer axis.
    bias: whether there is a learnt bias of logits, which the sigmoid loss needs.
    flat: whether dense layers multiply over rows in one axis, which is faster on CPUs; None
      decides by the backend of this process.
    attention: a key of `attention.ATTENTION`.
  """

  sizes: Sizes
  dtype: jnp.dtype = jnp.float32
  remat: str = "none"
  scan: bool = False
  bias: bool = False
  flat: bool | None = None
  attention: str = "plain"

  def setup(self) -> None:
    flat = jax.default_backend() == "cpu" if self.flat is None else self.flat
    options = (self.sizes, self.dtype, self.remat, self.scan, flat, self.attention)
    self.visual = Vision(*options)
    self.text = Text(*options)
    scale = LOGIT_SCALE_INIT_WITH_BIAS if self.bias else LOGIT_SCALE_INIT
    self.logit_scale = self.param("logit_scale", nn.initializers.constant(scale), ())
    if self.bias:
      self.logit_bias = self.param("logit_bias", nn.initializers.constant(LOGIT_BIAS_INIT), ())

  def __call__(
    self,
    image: jax.Array,
    text: jax.Array,
    generic: jax.Array | None = None,
    surrogate: jax.Array | None = None,
    groups: Mapping[str, Groups] | None = None,
  ) -> Embeddings:
    """Embeds a batch of pairs.

    Args:
      image: (B, S, S, 3) normalised float; or (B, D) unit rows, which are taken as they are.
      text: (B, L) int32.
      generic: (B, L) int32 or None.
      surrogate: (B, K, L) int32 or None.
      groups: {name of one of these texts: how it is cut}, see `encode_text`; None cuts nothing.
    """
    groups = groups or {}

    def encoded(name, tokens):
      if tokens is None:
        return None
      flat = tokens.reshape(-1, tokens.shape[-1])
      rows = self.encode_text(flat, groups.get(name))
      return rows.reshape(*tokens.shape[:-1], -1)

    return Embeddings(
      image if image.ndim == 2 else self.encode_image(image),
      encoded("text", text),
      self.scale(),
      encoded("generic", generic),
      self.logit_bias if self.bias else None,
      encoded("surrogate", surrogate),
    )

  def encode_image(self, image: jax.Array) -> jax.Array:
    """image (B, S, S, 3) normalised float -> (B, D) unit rows."""
    return unit(self.visual(image))

  def encode_text(self, tokens: jax.Array, groups: Groups | None = None) -> jax.Array:
    """tokens (B, L) int32 -> (B, D) unit rows; with groups, texts are cut, see `Text`."""
    return unit(self.text(tokens, groups))

  def scale(self) -> jax.Array:
    """The factor on cosines, () float32, at most 100 as in CLIP."""
    return jnp.minimum(jnp.exp(self.logit_scale), LOGIT_SCALE_MAX)


def init(model: CLIP, seed: int) -> dict:
  """Fresh parameters: a nested dict of float32 arrays, the same for the same seed."""
  sizes = model.sizes
  image = jnp.zeros((1, sizes.image_size, sizes.image_size, 3))
  tokens = jnp.zeros((1, sizes.context_length), jnp.int32)
  return model.init(jax.random.key(seed), image, tokens)["params"]


def shapes(model: CLIP) -> dict:
  """The shapes of fresh parameters, a tree of ShapeDtypeStruct."""
  return jax.eval_shape(lambda: init(model, 0))


def stack_layers(params: dict) -> dict:
  """Parameters in the layout of a scanned model; unchanged if they are already."""
  return _each_transformer(params, _stacked)


def unstack_layers(params: dict) -> dict:
  """Parameters in the layout of an unrolled model; unchanged if they are already."""
  return _each_transformer(params, _unstacked)


def _each_transformer(params, change):
  towers = {t: {**params[t], "transformer": change(params[t]["transformer"])} for t in _TOWERS}
  return {**params, **towers}


def _stacked(blocks):
  if leaves.SCANNED in blocks:
    return blocks
  layers = [blocks[f"block_{i}"] for i in range(len(blocks))]
  return {leaves.SCANNED: jax.tree.map(lambda *x: jnp.stack(x), *layers)}


def _unstacked(blocks):
  if leaves.SCANNED not in blocks:
    return blocks
  scanned = blocks[leaves.SCANNED]
  count = len(jax.tree.leaves(scanned)[0])
  return {f"block_{i}": jax.tree.map(lambda x, i=i: x[i], scanned) for i in range(count)}
