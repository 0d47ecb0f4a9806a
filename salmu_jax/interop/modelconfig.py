"""Reads, compares and writes the config files of OpenCLIP and Hugging Face beside weights.

A config is read as flat facts, {"vision.width": 768, ...}, which are compared one by one with the
facts of a Sizes. An option that the towers here do not have is an error that names it.
"""

import os
import pathlib
from typing import Any

from salmu_jax.data import images, tokenizers
from salmu_jax.errors import InputError
from salmu_jax.interop import preprocessing
from salmu_jax.interop.preprocessing import check_close, explaining
from salmu_jax.models.clip import Sizes, Tower
from salmu_jax.runtime import files

OPENCLIP, HUGGINGFACE = "open_clip_config.json", "config.json"
WEIGHTS = {"openclip": "open_clip_model.safetensors", "huggingface": "model.safetensors"}
_EPSILON = 1e-5  # Of layer norms, in the towers here and in PyTorch.
_MOST, _MOST_LAYERS = 10**6, 1000  # limits of a size and of layers, far above any model

_SIGLIP = (
  " That is SigLIP, whose towers, tokenizer and preprocessing differ from CLIP's; only CLIP is "
  "supported."
)
# Options of OpenCLIP's configs with only one supported value: {key: that value}.
_BLOCKS = {
  "act_kwargs": None,
  "norm_kwargs": None,
  "block_type": None,
  "qk_norm": False,
  "scaled_cosine_attn": False,
  "scale_heads": False,
  "scale_attn_inner": False,
  "scale_attn": False,
  "scale_fc": False,
}
_FIXED = {
  "model_cfg": {"nonscalar_logit_scale": False, "multimodal_cfg": None},
  "vision_cfg": {
    "timm_model_name": None,
    "mlp_ratio": 4.0,
    "ls_init_value": None,
    "attentional_pool": False,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "pool_type": "tok",
    "final_ln_after_pool": False,
    **_BLOCKS,
    "input_patchnorm": False,
  },
  "text_cfg": {
    "hf_model_name": None,
    "hf_tokenizer_name": None,
    "tokenizer_kwargs": None,
    "mlp_ratio": 4.0,
    "ls_init_value": None,
    "embed_cls": False,
    "no_causal_mask": False,
    "pool_type": "argmax",
    "final_ln_after_pool": False,
    "proj_bias": False,
    "proj_type": "linear",
    **_BLOCKS,
  },
  "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest", "mode": "RGB"},
}
# Keys that are read into facts, or have no effect on what a trained model computes.
_READ = {
  "model_cfg": {
    "embed_dim",
    "vision_cfg",
    "text_cfg",
    "quick_gelu",
    "custom_text",
    "init_logit_scale",
    "init_logit_bias",
  },
  "vision_cfg": {
    "image_size",
    "patch_size",
    "width",
    "layers",
    "head_width",
    "patch_dropout",
    "output_tokens",
  },
  "text_cfg": {
    "context_length",
    "vocab_size",
    "width",
    "layers",
    "heads",
    "pad_id",
    "eos_id",
    "output_tokens",
  },
  "preprocess_cfg": {"mean", "std", "size", "fill_color"},
}


def facts(sizes: Sizes) -> dict[str, Any]:
  """The facts that a config of a model of these sizes must state."""
  return {
    "embed_dim": sizes.embed_dim,
    "image_size": sizes.image_size,
    "patch_size": sizes.patch_size,
    **{f"vision.{key}": value for key, value in sizes.vision._asdict().items()},
    **{f"text.{key}": value for key, value in sizes.text._asdict().items()},
    "context_length": sizes.context_length,
    "vocab_size": sizes.vocab_size,
    "quick_gelu": sizes.quick_gelu,
  }


def read(
  folder: str | os.PathLike,
) -> tuple[dict[str, Any], pathlib.Path] | tuple[None, None]:
  """(facts, the file) of the config in a folder, or (None, None) if there is none.

  Raises:
    InputError: the file is not a config of a CLIP model, or sets an option that the towers here do
      not have.
  """
  for name, reader in ((OPENCLIP, _read_openclip), (HUGGINGFACE, _read_huggingface)):
    path = pathlib.Path(folder) / name
    if path.exists():
      with explaining(path):
        return reader(files.read_json(path), path), path
  return None, None


def check(folder: str | os.PathLike, sizes: Sizes) -> None:
  """Raises InputError if a folder has configs that describe another model than `sizes`."""
  described, path = read(folder)
  differences = _differences(described, sizes) if described else []
  if differences:
    raise InputError(
      f"{path} describes another model than the preset: {'; '.join(differences)}. Choose the "
      "preset that it describes."
    )
  preprocessing.check(folder, sizes.image_size)


def sizes(folder: str | os.PathLike) -> Sizes | None:
  """The sizes that the config in a folder describes; None without one."""
  described, path = read(folder)
  if described is None:
    return None
  for key, value in described.items():
    most = _MOST_LAYERS if key.endswith("layers") else _MOST
    if key != "quick_gelu" and (type(value) is not int or not 1 <= value <= most):
      resnet = key == "vision.layers" and isinstance(value, list)
      kind = " That is a ResNet; only vision transformers are supported." if resnet else ""
      raise InputError(
        f"{path}: {key} is {value!r:.40}; it must be a whole number from 1 to {most:,}.{kind}"
      )
  _check_divides(path, "image_size", described["image_size"], described["patch_size"])
  for name in ("vision", "text"):
    _check_divides(path, f"{name}.width", described[f"{name}.width"], described[f"{name}.heads"])
  tower = lambda name: Tower(*(described[f"{name}.{field}"] for field in Tower._fields))
  plain = {key: value for key, value in described.items() if "." not in key}
  return Sizes(**plain, vision=tower("vision"), text=tower("text"))


def _check_divides(path, what, whole, part):
  if whole % part:
    raise InputError(f"{path}: {what} is {whole}; it must be a multiple of {part}.")


def describes(folder: str | os.PathLike, sizes: Sizes) -> bool:
  """Whether the folder has a config, and it describes exactly this model."""
  described, _ = read(folder)
  return described is not None and not _differences(described, sizes)


def write(
  folder: str | os.PathLike, sizes: Sizes, layout: str, logit_bias: float | None = None
) -> None:
  """Writes the config files of exported weights: the model, preprocessing and tokenizer.

  Args:
    folder: of the weights.
    sizes: of the model.
    layout: "openclip" or "huggingface".
    logit_bias: of the model, which OpenCLIP's config must state; None without one.
  """
  folder = pathlib.Path(folder)
  if layout == "openclip":
    config = openclip(sizes)
    if logit_bias is not None:
      config["model_cfg"]["init_logit_bias"] = logit_bias
    files.write_json(folder / OPENCLIP, config)
    return
  files.write_json(folder / HUGGINGFACE, _huggingface(sizes))
  files.write_json(folder / preprocessing.FILE, preprocessing.settings(sizes.image_size))
  tokenizers.write_huggingface(folder, sizes.context_length)


def _differences(described, sizes):
  expected = facts(sizes)
  if not sizes.vocab_size:  # Not set by the preset; exports have CLIP's full vocabulary.
    expected["vocab_size"] = described["vocab_size"]
  return [
    f"{key} is {described[key]!r}, the preset has {value!r}"
    for key, value in expected.items()
    if described[key] != value
  ]


def _is_siglip(name):
  return "siglip" in str(name).lower()


def _read_openclip(config, path):
  model = config["model_cfg"]
  vision, text = model["vision_cfg"], model["text_cfg"]
  tower, words = vision.get("timm_model_name"), text.get("hf_tokenizer_name")
  if _is_siglip(tower) or _is_siglip(words):
    raise InputError(f"{path} describes {tower or words!r}.{_SIGLIP}")
  preprocessing = config.get("preprocess_cfg", {})
  sections = {"model_cfg": model, "vision_cfg": vision, "text_cfg": text}
  for section, options in {**sections, "preprocess_cfg": preprocessing}.items():
    for key, value in options.items():
      if key not in _READ[section]:
        _check_fixed(path, section, key, value)
  for key, expected in (("mean", images.MEAN), ("std", images.STD)):
    check_close(path, f"preprocess_cfg.{key}", preprocessing.get(key, expected), expected)
  width = vision.get("width", 768)
  return {
    "embed_dim": model["embed_dim"],
    "image_size": vision.get("image_size", 224),
    "patch_size": vision.get("patch_size", 16),
    "vision.width": width,
    "vision.layers": vision.get("layers", 12),
    "vision.heads": width // vision.get("head_width", 64),
    "text.width": text.get("width", 512),
    "text.layers": text.get("layers", 12),
    "text.heads": text.get("heads", 8),
    "context_length": text.get("context_length", 77),
    "vocab_size": text.get("vocab_size", 49408),
    "quick_gelu": bool(model.get("quick_gelu", False)),
  }


def openclip(sizes: Sizes) -> dict[str, Any]:
  """The content of OpenCLIP's config file for a model of these sizes."""
  vision, text = sizes.vision, sizes.text
  model = {
    "embed_dim": sizes.embed_dim,
    "vision_cfg": {
      "image_size": sizes.image_size,
      "layers": vision.layers,
      "width": vision.width,
      "head_width": vision.width // vision.heads,
      "patch_size": sizes.patch_size,
    },
    "text_cfg": {
      "context_length": sizes.context_length,
      "vocab_size": sizes.vocab_size,
      "width": text.width,
      "heads": text.heads,
      "layers": text.layers,
    },
  }
  return {
    "model_cfg": {**model, "quick_gelu": True} if sizes.quick_gelu else model,
    "preprocess_cfg": {
      "mean": list(images.MEAN),
      "std": list(images.STD),
      "interpolation": "bicubic",
      "resize_mode": "shortest",
    },
  }


def _read_huggingface(config, path):
  kind = config.get("model_type")
  if kind != "clip":
    raise InputError(
      f"{path}: model_type is {kind!r:.40}; it must be 'clip'.{_SIGLIP if _is_siglip(kind) else ''}"
    )
  vision, text = config["vision_config"], config["text_config"]
  # A missing key has the default of `CLIPConfig`.
  activations = {tower.get("hidden_act", "quick_gelu") for tower in (vision, text)}
  if activations not in ({"gelu"}, {"quick_gelu"}):
    raise InputError(
      f"{path}: hidden_act is {sorted(activations)}; it must be gelu or quick_gelu, in both towers."
    )
  for name, tower, hidden, wide in (("vision", vision, 768, 3072), ("text", text, 512, 2048)):
    width = tower.get("hidden_size", hidden)
    if tower.get("intermediate_size", wide) != 4 * width:
      raise InputError(f"{path}: {name}_config.intermediate_size must be four times hidden_size.")
    epsilon = tower.get("layer_norm_eps", 1e-5)
    check_close(path, f"{name}_config.layer_norm_eps", epsilon, _EPSILON)
  return {
    "embed_dim": config.get("projection_dim", 512),
    "image_size": vision.get("image_size", 224),
    "patch_size": vision.get("patch_size", 32),
    "vision.width": vision.get("hidden_size", 768),
    "vision.layers": vision.get("num_hidden_layers", 12),
    "vision.heads": vision.get("num_attention_heads", 12),
    "text.width": text.get("hidden_size", 512),
    "text.layers": text.get("num_hidden_layers", 12),
    "text.heads": text.get("num_attention_heads", 8),
    "context_length": text.get("max_position_embeddings", 77),
    "vocab_size": text.get("vocab_size", 49408),
    "quick_gelu": activations == {"quick_gelu"},
  }


def _huggingface(sizes):
  def tower(size, **options):
    return {
      "hidden_size": size.width,
      "intermediate_size": 4 * size.width,
      "num_hidden_layers": size.layers,
      "num_attention_heads": size.heads,
      "hidden_act": "quick_gelu" if sizes.quick_gelu else "gelu",
      "layer_norm_eps": _EPSILON,
      "projection_dim": sizes.embed_dim,
      **options,
    }

  return {
    "architectures": ["CLIPModel"],
    "model_type": "clip",
    "projection_dim": sizes.embed_dim,
    "vision_config": tower(
      sizes.vision,
      model_type="clip_vision_model",
      image_size=sizes.image_size,
      patch_size=sizes.patch_size,
      num_channels=3,
    ),
    "text_config": tower(
      sizes.text,
      model_type="clip_text_model",
      max_position_embeddings=sizes.context_length,
      vocab_size=sizes.vocab_size,
      # The last two ids. Both text towers read the first end-of-text token.
      bos_token_id=sizes.vocab_size - 2,
      eos_token_id=sizes.vocab_size - 1,
    ),
  }


def _check_fixed(path, section, key, value):
  fixed = _FIXED[section]
  if key not in fixed or value != fixed[key]:
    right = f"it must be {fixed[key]!r}" if key in fixed else "this option is not supported"
    raise InputError(f"{path}: {section}.{key} is {value!r}; {right}.")
