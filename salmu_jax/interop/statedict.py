"""Our parameters as PyTorch state dicts and back: OpenCLIP's `CLIP` and Hugging Face's `CLIPModel`.

Each layout is a list of Entry, made from the sizes and used in both directions, so nothing is
renamed by two pieces of code. Arrays are numpy; only transposition and concatenation happen, so a
way there and back gives the same bits.
"""

from typing import NamedTuple

import numpy as np

from salmu_jax.errors import InputError
from salmu_jax.models import clip

# Not parameters: masks, positions and sizes that some versions stored beside them.
_NOT_PARAMETERS = {
  "attn_mask",
  "input_resolution",
  "context_length",
  "vocab_size",
  "vision_model.embeddings.position_ids",
  "text_model.embeddings.position_ids",
}
_SHOWN = 5


class Entry(NamedTuple):
  """Where a parameter of ours is in a state dict.

  path: ours, "/" between keys. shape: ours. theirs: the tensors that, joined along their first
  axis, are ours after `axes`. axes: transposes theirs into ours; () leaves it.
  """

  path: str
  shape: tuple
  theirs: tuple
  axes: tuple = ()


def openclip(sizes):
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


def huggingface(sizes):
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
    "ln_pre": "vision_model.pre_layrnorm",  # Their spelling.
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


LAYOUTS = {"openclip": openclip, "huggingface": huggingface}


def shapes(sizes, layout):
  """{tensor name: shape} of a state dict."""
  return {name: _their_shape(entry) for entry in LAYOUTS[layout](sizes) for name in entry.theirs}


def to_tensors(params, sizes, layout):
  """A state dict of our parameters.

  Args:
    params: as `clip.init` makes them, scanned or not.
    sizes: of the model.
    layout: a key of LAYOUTS.

  Returns:
    {tensor name: float32 array}.
  """
  params, tensors = clip.unstack_layers(params), {}
  for entry in LAYOUTS[layout](sizes):
    value = params
    for key in entry.path.split("/"):
      value = value[key]
    value = np.asarray(value, np.float32)
    if entry.axes:
      value = value.transpose(np.argsort(entry.axes))
    parts = np.split(value, len(entry.theirs)) if len(entry.theirs) > 1 else [value]
    for name, part in zip(entry.theirs, parts, strict=True):
      tensors[name] = np.asarray(part, order="C")
  return tensors


def from_tensors(tensors, sizes, where):
  """Our parameters from a state dict, whose layout its names tell.

  Args:
    tensors: {name: array}; names as OpenCLIP's `CLIP` or `CustomTextCLIP`, or Hugging Face's
      `CLIPModel`, have them.
    sizes: of the model.
    where: names the file in an error.

  Returns:
    A nested dict of float32 arrays, in the unrolled layout.

  Raises:
    InputError: tensors are missing, not known, of another shape or not finite; they are listed.
  """
  tensors = _plain_names(tensors)
  layout = recognise(tensors)
  _account(tensors, shapes(sizes, layout), where)
  params = {}
  for entry in LAYOUTS[layout](sizes):
    parts = [np.asarray(tensors[name], np.float32) for name in entry.theirs]
    value = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if entry.axes:
      value = value.transpose(entry.axes)
    *parents, leaf = entry.path.split("/")
    place = params
    for key in parents:
      place = place.setdefault(key, {})
    place[leaf] = np.asarray(value.reshape(entry.shape), order="C")
  return params


def recognise(tensors):
  """The key of LAYOUTS that tensor names belong to."""
  return "huggingface" if any(name.startswith("vision_model.") for name in tensors) else "openclip"


def _plain_names(tensors):
  """Without what is no parameter, and the prefixes of distributed training and `CustomTextCLIP`."""
  plain = {name.removeprefix("module."): value for name, value in tensors.items()}
  plain = {name.removeprefix("text."): value for name, value in plain.items()}
  return {name: value for name, value in plain.items() if name not in _NOT_PARAMETERS}


def _account(tensors, expected, where):
  """Raises InputError unless the tensors are just the expected ones, of these shapes, and
  finite.
  """
  both = [name for name in expected if name in tensors]
  faults = [
    [f"{name} is missing" for name in expected if name not in tensors],
    [f"{name} belongs to no part of this model" for name in tensors if name not in expected],
    [
      f"{name} is {np.shape(tensors[name])}, this model has {expected[name]}"
      for name in both
      if np.shape(tensors[name]) != expected[name]
      # Some versions store the scale as one element of a vector.
      and (np.size(tensors[name]), expected[name]) != (1, ())
    ],
    [
      f"{name} holds NaN or infinity"
      for name in both
      if not np.isfinite(np.asarray(tensors[name], np.float32)).all()
    ],
  ]
  if any(faults):
    raise InputError(
      f"{where} does not hold the weights of this model: "
      f"{'; '.join(map(_listed, filter(None, faults)))}. Give weights of the architecture that "
      "config.model.preset (or --preset) names, or change the preset."
    )


def _listed(lines):
  """The first faults of one kind, and how many more of it there are."""
  more = f"; and {len(lines) - _SHOWN} more like that" if len(lines) > _SHOWN else ""
  return "; ".join(lines[:_SHOWN]) + more


def _their_shape(entry):
  shape = tuple(entry.shape[axis] for axis in np.argsort(entry.axes)) if entry.axes else entry.shape
  return (shape[0] // len(entry.theirs), *shape[1:]) if shape else shape


def _entries(sizes, names, block):
  """All but the projections, which the layouts keep in different directions."""
  image, text, patch = sizes.vision, sizes.text, sizes.patch_size
  positions = 1 + (sizes.image_size // patch) ** 2
  out = [
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
  for tower, place, key in ((image, "visual", "image_blocks"), (text, "text", "text_blocks")):
    for i in range(tower.layers):
      out += block(f"{names[key]}.{i}", f"{place}/transformer/block_{i}", tower.width)
  return out


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
