"""Writes tests/goldens with PyTorch and OpenCLIP, without this project's models:

    python -m experiments.parity.goldens

Needs requirements-torch.txt. `make test` compares against the files, `make test-torch` recomputes
them.
"""

import json
import pathlib

import numpy as np

from experiments.parity import inputs, openclip
from salmu_jax.runtime import files

FOLDER = pathlib.Path(__file__).parent.parent.parent / "tests" / "goldens"


def names():
  """{preset: {layout: summary of the tensors' names and shapes}}."""
  return {
    preset: {
      layout: inputs.summary(openclip.shapes(preset, layout))
      for layout in ("openclip", "huggingface")
    }
    for preset in openclip.PRESETS
  }


def tokens():
  """The content of tokens.json with recomputed ids, without padding."""
  kept = json.loads((FOLDER / "tokens.json").read_text())
  rows = openclip.tokens(case["text"] for case in kept["cases"])
  for case, row in zip(kept["cases"], rows, strict=True):
    case["ids"] = row[: np.flatnonzero(row)[-1] + 1].tolist()
  return kept


def arrays():
  """Embeddings and logits of a full-width ViT-B/16 with random weights, and sampled pixels."""
  crops = dict(inputs.crops())
  images = np.stack([openclip.normalised(crops[name]) for name in inputs.SHOWN])
  model = openclip.model(inputs.draw(openclip.shapes("vit_b16", "openclip"), inputs.SEED))
  image, text, logits = openclip.embed(model, images, openclip.tokens(inputs.TEXTS))
  pixels = np.stack([inputs.sampled(openclip.pixels(crop)) for crop in crops.values()])
  return {"image": image, "text": text, "logits": logits, "pixels": pixels}


def main():
  """Writes names.json, tokens.json and arrays.npz."""
  files.write_json(FOLDER / "names.json", names())
  golden = tokens()
  cases = ",\n".join(f"    {json.dumps(case)}" for case in golden["cases"])
  source = json.dumps(golden["source"])
  files.write_text(
    FOLDER / "tokens.json", f'{{\n  "source": {source},\n  "cases": [\n{cases}\n  ]\n}}\n'
  )
  with files.replacing(FOLDER / "arrays.npz") as temporary, temporary.open("wb") as file:
    np.savez_compressed(file, **arrays())


if __name__ == "__main__":
  main()
