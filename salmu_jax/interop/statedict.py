"""Parameters to and from the state dicts of OpenCLIP's `CLIP` and Hugging Face's `CLIPModel`.

A layout is a list of Entry, which follows from the sizes and is used in both directions. numpy
arrays are only transposed, split and joined, so a round trip is bit-identical.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from salmu_jax.errors import InputError
from salmu_jax.models import clip
from salmu_jax.models.clip import Sizes, Tower
from salmu_jax.models.presets import PRESETS

# Masks, positions and sizes that some versions stored beside the parameters.
_NOT_PARAMETERS = {
  "attn_mask",
  "input_resolution",
  "context_length",
  "vocab_size",
  "vision_model.embeddings.position_ids",
  "text_model.embeddings.position_ids",
}
# Prefixes that DistributedDataParallel, torch.compile and trainers add to all names.
_WRAPPERS = ("module.", "_orig_mod.", "model.")
_SHOWN = 5
_BIAS = "logit_bias"
_MOST_LOG_SCALE = 80
_HEAD = 64  # dimensions of a head, if nothing else determines them


class Entry(NamedTuple):
  """Where a parameter of this project is in a state dict.

  Attributes:
    path: of the parameter, "/" between keys.
    shape: of the parameter.
    tensors: names in the state dict; these tensors are joined along their first axis.
    axes: transposes the joined tensor into the parameter; () leaves it as it is.
  """

  path: str
  shape: tuple[int, ...]
  tensors: tuple[str, ...]
  axes: tuple[int, ...] = ()


def openclip(sizes: Sizes) -> list[Entry]:
  """Entries of OpenCLIP's `CLIP`."""

  def block(prefix, path, width):
    return [
      *_norm(f"{prefix}.ln_1", f"{path}/ln_1", width),
      Entry(
        f"{path}/in_proj/kernel", (width, 3 * width), (f"{prefix}.attn.in_proj_weight",), (1, 0)
      ),
      Entry(f"{path}/in_proj/bias", (3 * width,), (f"{prefix}.attn.in_proj_bias",)),
      *_dense(f"{prefix}.attn.out_proj", f"{path}/out_proj", width, width),
      *_norm(f"{prefix}.ln_2", f"{path}/ln_2", width),
      *_dense(f"{prefix}.mlp.c_fc", f"{path}/c_fc", width, 4 * width),
      *_dense(f"{prefix}.mlp.c_proj", f"{path}/c_proj", 4 * width, width),
    ]

  names = {
    "class_embedding": "visual.class_embedding",
    "image_positions": "visual.positional_embedding",
    "patches": "visual.conv1.weight",
    "ln_pre": "visual.ln_pre",
    "image_blocks": "visual.transformer.resblocks",
    "ln_post": "visual.ln_post",
    "tokens": "token_embedding.weight",
    "text_positions": "positional_embedding",
    "text_blocks": "transformer.resblocks",
    "ln_final": "ln_final",
  }
  projections = [
    Entry("visual/proj", (sizes.vision.width, sizes.embed_dim), ("visual.proj",)),
    Entry("text/text_projection", (sizes.text.width, sizes.embed_dim), ("text_projection",)),
  ]
  return [*_entries(sizes, names, block), *projections]


def huggingface(sizes: Sizes) -> list[Entry]:
  """Entries of Hugging Face's `CLIPModel`."""

  def block(prefix, path, width):
    def three(kind):
      return tuple(f"{prefix}.self_attn.{part}_proj.{kind}" for part in "qkv")

    return [
      *_norm(f"{prefix}.layer_norm1", f"{path}/ln_1", width),
      Entry(f"{path}/in_proj/kernel", (width, 3 * width), three("weight"), (1, 0)),
      Entry(f"{path}/in_proj/bias", (3 * width,), three("bias")),
      *_dense(f"{prefix}.self_attn.out_proj", f"{path}/out_proj", width, width),
      *_norm(f"{prefix}.layer_norm2", f"{path}/ln_2", width),
      *_dense(f"{prefix}.mlp.fc1", f"{path}/c_fc", width, 4 * width),
      *_dense(f"{prefix}.mlp.fc2", f"{path}/c_proj", 4 * width, width),
    ]

  names = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "image_positions": "vision_model.embeddings.position_embedding.weight",
    "patches": "vision_model.embeddings.patch_embedding.weight",
    "ln_pre": "vision_model.pre_layrnorm",  # as Hugging Face spells it
    "image_blocks": "vision_model.encoder.layers",
    "ln_post": "vision_model.post_layernorm",
    "tokens": "text_model.embeddings.token_embedding.weight",
    "text_positions": "text_model.embeddings.position_embedding.weight",
    "text_blocks": "text_model.encoder.layers",
    "ln_final": "text_model.final_layer_norm",
  }
  image, text = (tower.width for tower in (sizes.vision, sizes.text))
  projections = [
    Entry("visual/proj", (image, sizes.embed_dim), ("visual_projection.weight",), (1, 0)),
    Entry("text/text_projection", (text, sizes.embed_dim), ("text_projection.weight",), (1, 0)),
  ]
  return [*_entries(sizes, names, block), *projections]


LAYOUTS: dict[str, Callable[[Sizes], list[Entry]]] = {
  "openclip": openclip,
  "huggingface": huggingface,
}


def shapes(sizes: Sizes, layout: str) -> dict[str, tuple[int, ...]]:
  """{tensor name: shape} of a state dict."""
  return _shapes(LAYOUTS[layout](sizes))


def _shapes(entries):
  return {name: _tensor_shape(entry) for entry in entries for name in entry.tensors}


def _layout(layout, sizes, names):
  """The entries of a layout, with the logit bias if a model has one."""
  has_bias = layout == "openclip" and _BIAS in names
  return [*LAYOUTS[layout](sizes), *([Entry(_BIAS, (), (_BIAS,))] if has_bias else [])]


def to_tensors(params: Mapping[str, Any], sizes: Sizes, layout: str) -> dict[str, np.ndarray]:
  """A state dict of parameters.

  Args:
    params: as `clip.init` returns them, scanned or not.
    sizes: of the model.
    layout: a key of LAYOUTS.

  Returns:
    {tensor name: float32 array}.

  Raises:
    InputError: the layout has no place for a parameter.
  """
  params, tensors = clip.unstack_layers(params), {}
  if _BIAS in params and layout != "openclip":
    raise InputError(
      f"The model has a {_BIAS} (config.model.{_BIAS}), which the layout {layout!r} cannot hold. "
      "Export it in the layout 'openclip'."
    )
  for entry in _layout(layout, sizes, params):
    value = params
    for key in entry.path.split("/"):
      value = value[key]
    value = np.asarray(value, np.float32)
    if entry.axes:
      value = value.transpose(np.argsort(entry.axes))
    parts = np.split(value, len(entry.tensors)) if len(entry.tensors) > 1 else [value]
    for name, part in zip(entry.tensors, parts, strict=True):
      tensors[name] = np.asarray(part, order="C")
  return tensors


def from_tensors(tensors: Mapping[str, np.ndarray], sizes: Sizes, where: str) -> dict[str, Any]:
  """Parameters from a state dict, whose layout follows from its names.

  Args:
    tensors: {name: array}, with the names of OpenCLIP's `CLIP` or `CustomTextCLIP`, or of Hugging
      Face's `CLIPModel`.
    sizes: of the model.
    where: names the file in an error.

  Returns:
    A nested dict of float32 arrays, in the unrolled layout.

  Raises:
    InputError: tensors are missing, unexpected, of another shape or not finite; they are listed.
  """
  tensors = _plain_names(tensors, where)
  entries = _layout(layout_of(tensors), sizes, tensors)
  _check_complete(tensors, _shapes(entries), where)
  params = {}
  for entry in entries:
    parts = [_float32(tensors[name]) for name in entry.tensors]
    value = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if entry.axes:
      value = value.transpose(entry.axes)
    *parents, leaf = entry.path.split("/")
    module = params
    for key in parents:
      module = module.setdefault(key, {})
    module[leaf] = np.asarray(value.reshape(entry.shape), order="C")
  return params


def layout_of(tensors: Iterable[str]) -> str:
  """The layout, a key of LAYOUTS, that tensor names belong to."""
  plain = map(_plain_name, tensors)
  return "huggingface" if any(name.startswith("vision_model.") for name in plain) else "openclip"


def sizes_of(tensors: Mapping[str, np.ndarray], where: str) -> Sizes:
  """The sizes of a model, inferred from its tensors.

  Tensors determine neither the number of heads nor the activation. These are taken from a preset
  of the same shapes or, without one, are heads of 64 dimensions, as in ViT-B and ViT-L, and GELU.

  Args:
    tensors: as for `from_tensors`. where: names the file in an error.

  Raises:
    InputError: these are not the tensors of a CLIP with a ViT and a text transformer.
  """
  tensors = _plain_names(tensors, where)
  small = Sizes(64, 16, 16, Tower(64, 1, 1), Tower(64, 1, 1))
  entries = {entry.path: entry for entry in LAYOUTS[layout_of(tensors)](small)}
  missing = [e.tensors[0] for e in entries.values() if e.tensors[0] not in tensors]
  if missing:
    raise InputError(
      f"{where} has no tensor {missing[0]}, so it is not a CLIP with a vision transformer and a "
      "text transformer. Only those are supported."
    )

  def shape(path):
    entry = entries[path]
    own = np.shape(tensors[entry.tensors[0]])
    return [own[axis] for axis in entry.axes] if entry.axes else list(own)

  def tower(path, width):
    before, after = entries[f"{path}/transformer/block_0/ln_1/scale"].tensors[0].split(".0.", 1)
    layers = sum(name.startswith(f"{before}.") and name.endswith(f".{after}") for name in tensors)
    return Tower(width, layers, max(1, width // _HEAD))

  try:
    patch, _, _, width = shape("visual/conv1/kernel")
    side = math.isqrt(max(0, shape("visual/positional_embedding")[0] - 1))
    text_width, embed_dim = shape("text/text_projection")
    vocab_size, _ = shape("text/token_embedding/embedding")
    context_length, _ = shape("text/positional_embedding")
  except (IndexError, ValueError) as error:
    raise InputError(f"{where} has tensors whose dimensions are not those of a CLIP.") from error
  towers = tower("visual", width), tower("text", text_width)
  sizes = Sizes(embed_dim, side * patch, patch, *towers, context_length, vocab_size)
  alike = (preset for preset in PRESETS.values() if _without_heads(preset) == _without_heads(sizes))
  return next(alike, sizes)


def _without_heads(sizes):
  one = {name: getattr(sizes, name)._replace(heads=1) for name in ("vision", "text")}
  return sizes._replace(**one)


def _plain_name(name):
  """The name without what distributed training, compilation and `CustomTextCLIP` add to it."""
  while name.startswith(_WRAPPERS):
    _, _, name = name.partition(".")
  return name.replace("._orig_mod.", ".").removeprefix("text.")


def _plain_names(tensors, where):
  """Parameters only, by their plain names."""
  plain = {}
  for name, value in tensors.items():
    short = _plain_name(name)
    if short in plain:
      raise InputError(f"{where} holds two tensors {short}, one of them as {name}. Remove one.")
    plain[short] = value
  return {name: value for name, value in plain.items() if name not in _NOT_PARAMETERS}


def _check_complete(tensors, expected, where):
  """Raises InputError unless the tensors have the expected names and shapes, and are finite."""
  common = [name for name in expected if name in tensors]
  faults = [
    [f"{name} is missing" for name in expected if name not in tensors],
    [f"{name} is not a tensor of this model" for name in tensors if name not in expected],
    [
      f"{name} is {np.shape(tensors[name])}, this model has {expected[name]}"
      for name in common
      if np.shape(tensors[name]) != expected[name]
      # Some versions store the scale as one element of a vector.
      and (np.size(tensors[name]), expected[name]) != (1, ())
    ],
    [
      f"{name} holds {np.asarray(tensors[name]).dtype}, not floating-point numbers"
      for name in common
      if not _is_float(tensors[name])
    ],
    [
      f"{name} holds NaN or infinity"
      for name in common
      if _is_float(tensors[name]) and not np.isfinite(_float32(tensors[name])).all()
    ],
    [
      f"{name} is {np.ravel(tensors[name])[0]:g}, which is not the logarithm of a logit scale"
      for name in common
      if name == "logit_scale"
      and _is_float(tensors[name])
      # Beyond it, the exponential overflows float32.
      and not abs(float(np.ravel(tensors[name])[0])) < _MOST_LOG_SCALE
    ],
  ]
  if any(faults):
    raise InputError(
      f"{where} does not hold the weights of this model: "
      f"{'; '.join(map(_listed, filter(None, faults)))}. Give weights of the architecture that "
      "config.model.preset (or --preset) names, or change the preset."
    )


def _float32(tensor: np.ndarray) -> np.ndarray:
  with np.errstate(over="ignore"):  # numbers that overflow float32 become infinite: an error
    return np.asarray(tensor, np.float32)


def _is_float(tensor: np.ndarray) -> bool:
  """Whether a tensor holds real floating-point numbers, bfloat16 among them."""
  return bool(jnp.issubdtype(np.asarray(tensor).dtype, jnp.floating))


def _listed(lines):
  """The first faults of a kind, and the number of further ones."""
  more = f"; and {len(lines) - _SHOWN} more like that" if len(lines) > _SHOWN else ""
  return "; ".join(lines[:_SHOWN]) + more


def _tensor_shape(entry):
  shape = tuple(entry.shape[axis] for axis in np.argsort(entry.axes)) if entry.axes else entry.shape
  return (shape[0] // len(entry.tensors), *shape[1:]) if shape else shape


def _entries(sizes, names, block):
  """All entries except the projections, which only one of the layouts transposes."""
  image, text, patch = sizes.vision, sizes.text, sizes.patch_size
  positions = 1 + (sizes.image_size // patch) ** 2
  entries = [
    Entry("logit_scale", (), ("logit_scale",)),
    Entry("visual/class_embedding", (image.width,), (names["class_embedding"],)),
    Entry("visual/positional_embedding", (positions, image.width), (names["image_positions"],)),
    Entry("visual/conv1/kernel", (patch, patch, 3, image.width), (names["patches"],), (2, 3, 1, 0)),
    *_norm(names["ln_pre"], "visual/ln_pre", image.width),
    *_norm(names["ln_post"], "visual/ln_post", image.width),
    Entry("text/token_embedding/embedding", (sizes.vocab_size, text.width), (names["tokens"],)),
    Entry(
      "text/positional_embedding", (sizes.context_length, text.width), (names["text_positions"],)
    ),
    *_norm(names["ln_final"], "text/ln_final", text.width),
  ]
  for tower, module, key in ((image, "visual", "image_blocks"), (text, "text", "text_blocks")):
    for i in range(tower.layers):
      entries += block(f"{names[key]}.{i}", f"{module}/transformer/block_{i}", tower.width)
  return entries


def _norm(prefix, path, width):
  return [
    Entry(f"{path}/scale", (width,), (f"{prefix}.weight",)),
    Entry(f"{path}/bias", (width,), (f"{prefix}.bias",)),
  ]


def _dense(prefix, path, inputs, outputs):
  return [
    Entry(f"{path}/kernel", (inputs, outputs), (f"{prefix}.weight",), (1, 0)),
    Entry(f"{path}/bias", (outputs,), (f"{prefix}.bias",)),
  ]
