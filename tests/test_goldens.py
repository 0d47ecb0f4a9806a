"""Parity with OpenCLIP without PyTorch: what experiments/parity/goldens.py recorded under it."""

import json
import pathlib

import jax
import numpy as np
import pytest

from experiments.parity import inputs
from salmu_jax.data import images, tokenizers
from salmu_jax.interop import statedict
from salmu_jax.models import clip
from salmu_jax.models.presets import PRESETS

FOLDER = pathlib.Path(__file__).parent / "goldens"
SIZES = PRESETS["vit_b16"]


@pytest.fixture(scope="module")
def golden():
  with np.load(FOLDER / "arrays.npz", allow_pickle=False) as arrays:
    return dict(arrays)


@pytest.mark.parametrize("layout", statedict.LAYOUTS)
@pytest.mark.parametrize("preset", ["vit_b16", "vit_b32", "vit_l14"])
def test_tensors_have_the_names_and_shapes_of_the_originals(preset, layout):
  recorded = json.loads((FOLDER / "names.json").read_text())
  assert inputs.summary(statedict.shapes(PRESETS[preset], layout)) == recorded[preset][layout]


def test_pixels_are_those_of_torchvisions_transform(golden):
  pixels = [inputs.sampled(images.resize_and_crop(crop, 224)) for _, crop in inputs.crops()]
  np.testing.assert_array_equal(np.stack(pixels), golden["pixels"])


def test_a_full_width_vit_b16_has_openclips_embeddings_and_logits(golden):
  tensors = inputs.draw(statedict.shapes(SIZES, "openclip"), inputs.SEED)
  params = clip.stack_layers(statedict.from_tensors(tensors, SIZES, "drawn"))
  crops = dict(inputs.crops())
  pixels = np.stack([images.resize_and_crop(crops[name], 224) for name in inputs.SHOWN])
  model = clip.CLIP(SIZES, scan=True)  # One block is compiled for twelve.
  z = jax.jit(lambda p, i, t: model.apply({"params": p}, images.normalise(i), t))(
    params, pixels, tokenizers.clip_tokenizer()(inputs.TEXTS)
  )
  assert np.abs(golden["image"][0] - golden["image"][1]).max() > 0.01  # Pictures do tell apart.
  np.testing.assert_allclose(z.image, golden["image"], rtol=0, atol=1e-5)
  np.testing.assert_allclose(z.text, golden["text"], rtol=0, atol=1e-5)
  np.testing.assert_allclose(z.scale * z.image @ z.text.T, golden["logits"], rtol=0, atol=1e-5)
