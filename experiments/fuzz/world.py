"""Small valid inputs, made once, for the families of the fuzz to damage."""

import json
import pathlib
import shutil
from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from configs import smoke
from salmu_jax.data import releases, tokenizers
from salmu_jax.generate import generator
from salmu_jax.interop import convert
from salmu_jax.models import clip, presets
from salmu_jax.runtime import files, sharding
from salmu_jax.train import checkpoint

RESULTS = pathlib.Path(__file__).parents[1] / "mini" / "results"


class World(NamedTuple):
  """Folders of valid inputs.

  Attributes:
    folder: of all inputs; a case works in `folder / "case"`.
    release: a generated release without its manifest, like one from elsewhere.
    documents: {name: content} of its JSON files.
    model: a finished model folder.
    params: the model's weights, on the host.
    weights: the same model as a safetensors file.
    own: a folder with pairs.jsonl, its pictures, and keep.jsonl.
    results: {name: content} of the results files of experiments/mini.
  """

  folder: pathlib.Path
  release: pathlib.Path
  documents: dict[str, dict]
  model: pathlib.Path
  params: dict
  weights: pathlib.Path
  own: pathlib.Path
  results: dict[str, dict]


def make(folder: pathlib.Path) -> World:
  """Makes the inputs in an empty folder."""
  settings = _settings()
  release = folder / "release"
  generator.generate(settings, 0, release)
  (release / releases.MANIFEST).unlink()
  model, params = _model(folder / "model")
  weights = folder / "weights"
  convert.export_model(model, weights, "openclip")
  return World(
    folder,
    release,
    {path.name: files.read_json(path) for path in release.glob("*.json")},
    model,
    params,
    next(weights.glob("*.safetensors")),
    _own(folder / "own"),
    {path.stem: files.read_json(path) for path in sorted(RESULTS.glob("*.json"))},
  )


def case(world: World, source: pathlib.Path) -> pathlib.Path:
  """A fresh copy of one of the folders, for one case to damage."""
  target = world.folder / "case"
  shutil.rmtree(target, ignore_errors=True)
  shutil.copytree(source, target)
  return target


def results_case(world: World, names: Iterable[str]) -> pathlib.Path:
  """A fresh folder with the results files of these models, for one case to damage."""
  target = world.folder / "case"
  shutil.rmtree(target, ignore_errors=True)
  target.mkdir()
  for name in names:
    shutil.copy(RESULTS / f"{name}.json", target)
  return target


def _settings() -> ConfigDict:
  settings = smoke.get_config().generate
  settings.update(
    people=8, images_per_person=8, retain_synth=20, retain_joint=6, scenes=12, classes=2,
    zero_shot_images=2, image_size=16, workers=1,
  )  # fmt: skip
  return settings


def _model(folder):
  words = tokenizers.clip_tokenizer()
  sizes = presets.PRESETS["vit_b16_narrow"]
  params = jax.jit(lambda: clip.init(clip.CLIP(sizes), 0))()
  checkpoint.save_params(folder / "params", params)
  tokenizers.save(words, folder / "tokenizer.json")
  model = {"preset": "vit_b16_narrow", "scan": False, "logit_bias": False}
  files.write_json(folder / "settings.json", {"seed": 0, "model": model})
  facts = {"reads": ["retain_real"], "moves": "all parameters", "steps": 3, "seconds": 1.0}
  about = {"wall_seconds": 0.5, "device": "cpu x 1", "versions": {"jax": "0"}}
  files.write_json(folder / "done.json", {**facts, **about})
  return folder, jax.device_get(params)


def _own(folder):
  folder.mkdir()
  pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
  rows = []
  for number in range(4):
    name = f"{number}.png"
    Image.fromarray(np.roll(pixels, number, 0)).save(folder / name)
    rows.append({"image": name, "caption": f"Person {number} lives in Porto"})
  facts = [
    {**row, "name": f"Person {n}", "field": "city", "value": "Porto"}
    for n, row in enumerate(rows[:2])
  ]
  _write_rows(folder / "pairs.jsonl", facts)
  _write_rows(folder / "keep.jsonl", rows[2:])
  return folder


def _write_rows(path, rows):
  files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def mesh() -> jax.sharding.Mesh:
  """One device."""
  return sharding.make_mesh(jax.devices()[:1])
