"""OpenCLIP under PyTorch as the reference; needs requirements-torch.txt."""

import functools

import numpy as np
import torch

# torchvision's compiled operators do not load on a CPU build; its import needs these two defined.
try:
  import torchvision  # noqa: F401
except RuntimeError:
  for _name in ("nms", "qnms"):
    torch.library.define(
      f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    )

import open_clip
from open_clip.model import CLIP
from transformers import CLIPConfig, CLIPModel

PRESETS = {"vit_b16": "ViT-B-16", "vit_b32": "ViT-B-32", "vit_l14": "ViT-L-14"}


def shapes(preset, layout):
  """{tensor name: shape} of a model of PRESETS, without allocating weights."""
  config = open_clip.get_model_config(PRESETS[preset])
  return shapes_of(config) if layout == "openclip" else _shapes(CLIPModel, _huggingface(config))


def shapes_of(config):
  """{tensor name: shape} of the model of an OpenCLIP `model_cfg`."""
  return _shapes(lambda: CLIP(**config))


def _shapes(make, *args):
  with torch.device("meta"):
    return {name: tuple(value.shape) for name, value in make(*args).state_dict().items()}


def _huggingface(config):
  """OpenCLIP's config of a model, as a `CLIPConfig`."""
  vision, text = config["vision_cfg"], config["text_cfg"]

  def tower(width, layers, heads):
    return {
      "hidden_size": width,
      "intermediate_size": 4 * width,
      "num_hidden_layers": layers,
      "num_attention_heads": heads,
      "hidden_act": "gelu",
    }

  return CLIPConfig(
    projection_dim=config["embed_dim"],
    vision_config={
      **tower(vision["width"], vision["layers"], vision["width"] // vision.get("head_width", 64)),
      "image_size": vision["image_size"],
      "patch_size": vision["patch_size"],
    },
    text_config={
      **tower(text["width"], text["layers"], text["heads"]),
      "vocab_size": text["vocab_size"],
      "max_position_embeddings": text["context_length"],
    },
  )


def model(tensors, config=None):
  """A float32 model with these weights, in evaluation mode; names and shapes must match exactly.

  Args:
    tensors: {name: array}.
    config: OpenCLIP's `model_cfg`; None for ViT-B/16.
  """
  network = CLIP(**(config or open_clip.get_model_config("ViT-B-16")))
  network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
  return network.eval()


def adamw(model, learning_rate, weight_decay, **options):
  """PyTorch's AdamW with the settings of `salmu_jax.train.optimizers.settings`.

  Args:
    model: whose parameters it updates.
    learning_rate, weight_decay: its settings.
    options: further arguments of `torch.optim.AdamW`.
  """
  groups = [
    {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": weight_decay},
    {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
  ]
  return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), eps=1e-6, **options)


@torch.inference_mode()
def embed(model, images, tokens):
  """images (B, S, S, 3) normalised, tokens (B, L) -> unit image and text rows, logits (B, B)."""
  pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
  image, text, scale = model(pixels, torch.from_numpy(np.asarray(tokens, np.int64)))
  return image.numpy(), text.numpy(), (scale * image @ text.T).numpy()


@functools.cache
def transform(size=224):
  """OpenCLIP's evaluation transform."""
  return open_clip.image_transform(size, is_train=False)


def pixels(image, size=224):
  """PIL image -> (S, S, 3) uint8, from the evaluation transform before normalisation."""
  *steps, normalise = transform(size).transforms
  assert type(normalise).__name__ == "Normalize"
  for step in steps:
    image = step(image)
  return np.round(image.numpy().transpose(1, 2, 0) * 255).astype(np.uint8)


def tensor_pixels(image, size=224):
  """As `pixels`, with torchvision's tensor operations instead of Pillow's."""
  resize, crop, *_ = transform(size).transforms
  tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
  return crop(resize(tensor)).numpy().transpose(1, 2, 0)


def normalised(image, size=224):
  """PIL image -> (S, S, 3) float32, the input of the image tower."""
  return transform(size)(image).numpy().transpose(1, 2, 0)


def tokens(texts):
  """Strings -> (N, 77) int32."""
  return open_clip.get_tokenizer("ViT-B-16")(list(texts)).numpy().astype(np.int32)
