"""Largest differences from OpenCLIP: python -m experiments.parity.measure

Compares ViT-B/16 embeddings, pixels and tokens. Needs requirements-torch.txt; takes about a minute
on two cores. Writes parity.json.
"""

import importlib.metadata
import pathlib

import numpy as np

from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "parity.json"
STRINGS = 20_000
PACKAGES = ("jax", "flax", "torch", "torchvision", "open_clip_torch", "pillow")


def main():
  """Measures and writes parity.json."""
  import jax

  from experiments.parity import inputs, openclip
  from salmu_jax.data import images, tokenizers
  from salmu_jax.interop import statedict
  from salmu_jax.models import clip
  from salmu_jax.models.presets import PRESETS

  tensors = inputs.draw(openclip.shapes("vit_b16", "openclip"), inputs.SEED)
  sizes, reference = PRESETS["vit_b16"], openclip.model(tensors)
  params, model = statedict.from_tensors(tensors, sizes, "drawn"), clip.CLIP(sizes)
  crops, tokens = [crop for _, crop in inputs.crops()], tokenizers.clip_tokenizer()
  texts = inputs.strings(len(crops), seed=1)
  pixels = np.stack([images.resize_and_crop(crop, sizes.image_size) for crop in crops])
  tensor_pixels = np.stack([openclip.tensor_pixels(crop) for crop in crops])

  apply = jax.jit(lambda i, t: model.apply({"params": params}, images.normalise(i), t))
  z = apply(pixels, tokens(texts))
  normalised = np.stack([openclip.normalised(crop) for crop in crops])
  image, text, logits = openclip.embed(reference, normalised, openclip.tokens(texts))
  moved = apply(tensor_pixels, tokens(texts))
  strings = inputs.strings(STRINGS, seed=0)
  differing = np.any(tokens(strings) != openclip.tokens(strings), axis=1)
  theirs = np.stack([openclip.pixels(crop) for crop in crops])

  def furthest(a, b):
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max())

  record = {
    "pictures": len(crops),
    "embeddings": max(furthest(z.image, image), furthest(z.text, text)),
    "logits": furthest(z.scale * z.image @ z.text.T, logits),
    "pixels": int(furthest(pixels, theirs)),
    "strings": STRINGS,
    "strings_tokenized_otherwise": int(differing.sum()),
    "tensor_transform": {
      "pixels": int(furthest(pixels, tensor_pixels)),
      "least_cosine": float(np.sum(np.asarray(z.image) * np.asarray(moved.image), axis=1).min()),
    },
    "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
  }
  files.write_json(RESULTS, record)


def section(path=RESULTS):
  """The README's table and paragraph."""
  record = files.read_json(path)
  versions, tensor = record["versions"], record["tensor_transform"]
  return (
    f"A ViT-B/16 with random weights in float32, compared with open_clip_torch "
    f"{versions['open_clip_torch']} under torch {versions['torch']}:\n\n"
    "| | largest difference |\n|---|---|\n"
    f"| image and text embeddings, {record['pictures']} pictures of aspect ratios 0.33 to 3.00, "
    f"each library with its own preprocessing | {record['embeddings']:.1e} |\n"
    f"| logits of all pairs | {record['logits']:.1e} |\n"
    f"| pixels after resize and crop | {record['pixels']} of 255 |\n"
    f"| token ids of {record['strings']:,} odd strings | "
    f"{record['strings_tokenized_otherwise']:,} strings differ |\n\n"
    "Preprocessing therefore changes no embedding. Resizing tensors instead of Pillow images "
    "would: torchvision's tensor path differs from its Pillow path by up to "
    f"{tensor['pixels']} of 255, and the cosine between the two embeddings of a picture falls "
    f"short of 1 by up to {1 - tensor['least_cosine']:.0e}.\n"
  )


if __name__ == "__main__":
  main()
