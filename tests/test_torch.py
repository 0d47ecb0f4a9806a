"""Parity with PyTorch, live: OpenCLIP and transformers read what we write and compute what we
compute.
"""

import json
import pathlib
import pickle

import jax
import numpy as np
import pytest
from test_convert import Malicious
from test_images import MODES, encoded

from experiments.parity import inputs
from salmu_jax.data import images, tokenizers
from salmu_jax.errors import InputError
from salmu_jax.interop import convert, statedict, weights
from salmu_jax.models import clip
from salmu_jax.models.presets import PRESETS
from salmu_jax.runtime import files
from salmu_jax.train import checkpoint

pytestmark = [
  pytest.mark.torch,
  # Deprecations in the reference's own dependencies are not ours to fix.
  pytest.mark.filterwarnings("ignore::DeprecationWarning"),
  pytest.mark.filterwarnings("ignore::FutureWarning"),
  pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning"),
]
GOLDENS = pathlib.Path(__file__).parent / "goldens"
NARROW = PRESETS["vit_b16_narrow"]
WORDS = tokenizers.clip_tokenizer()


@pytest.fixture(scope="module")
def openclip():
  from experiments.parity import openclip

  return openclip


def pixels():
  crops = dict(inputs.crops())
  return np.stack([images.resize_and_crop(crops[name], 224) for name in inputs.SHOWN])


def embed(params, sizes):
  """Our embeddings and logits of SHOWN and TEXTS."""
  model = clip.CLIP(sizes)
  z = jax.jit(lambda p, i, t: model.apply({"params": p}, images.normalise(i), t))(
    params, pixels(), WORDS(inputs.TEXTS)
  )
  return np.asarray(z.image), np.asarray(z.text), np.asarray(z.scale * z.image @ z.text.T)


def theirs(openclip, model):
  return openclip.embed(model, np.asarray(images.normalise(pixels())), WORDS(inputs.TEXTS))


def agree(ours, reference):
  for mine, other in zip(ours, reference, strict=True):
    assert np.ptp(mine, axis=0).max() > 0.01  # Rows do tell apart.
    np.testing.assert_allclose(mine, other, rtol=0, atol=1e-5)


def drawn(sizes, seed=1):
  return statedict.from_tensors(
    inputs.draw(statedict.shapes(sizes, "openclip"), seed), sizes, "drawn"
  )


def model_folder(folder, params, preset):
  """A finished model folder as a run leaves it."""
  checkpoint.save_params(folder / "params", params)
  tokenizers.save(WORDS, folder / "tokenizer.json")
  files.write_json(
    folder / "settings.json", {"seed": 0, "model": {"preset": preset, "scan": False}}
  )
  facts = {"reads": ["retain"], "moves": "all parameters", "steps": 1, "wall_seconds": 1.0}
  facts["seconds"] = 2.0
  files.write_json(folder / "done.json", {**facts, "device": "cpu x 1", "versions": {}})
  return folder


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
  """The narrow model in both layouts: {layout: folder}, and its parameters."""
  folder, params = tmp_path_factory.mktemp("exports"), drawn(NARROW)
  ours = model_folder(folder / "models" / "mine", params, "vit_b16_narrow")
  for layout in statedict.LAYOUTS:
    convert.export_model(ours, folder / layout, layout)
  return {layout: folder / layout for layout in statedict.LAYOUTS}, params


def test_the_goldens_are_what_pytorch_gives_today():
  from experiments.parity import goldens

  assert goldens.names() == json.loads((GOLDENS / "names.json").read_text())
  assert goldens.tokens() == json.loads((GOLDENS / "tokens.json").read_text())
  with np.load(GOLDENS / "arrays.npz", allow_pickle=False) as kept:
    fresh = goldens.arrays()
    assert set(fresh) == set(kept)
    np.testing.assert_array_equal(fresh["pixels"], kept["pixels"])
    for name in ("image", "text", "logits"):
      np.testing.assert_allclose(fresh[name], kept[name], rtol=0, atol=2e-6)


@pytest.mark.parametrize("layout", statedict.LAYOUTS)
@pytest.mark.parametrize("preset", ["vit_b16", "vit_b32", "vit_l14"])
def test_every_tensor_of_the_originals_has_its_place(openclip, preset, layout):
  assert statedict.shapes(PRESETS[preset], layout) == openclip.shapes(preset, layout)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_both_activations_are_openclips(openclip, quick_gelu):
  sizes = NARROW._replace(quick_gelu=quick_gelu)
  params = drawn(sizes)
  vision = {"image_size": 224, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
  text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
  config = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text, "quick_gelu": quick_gelu}
  model = openclip.model(statedict.to_tensors(params, sizes, "openclip"), config)
  agree(embed(params, sizes), theirs(openclip, model))


def test_openclip_loads_an_exported_folder_with_its_transform_and_tokenizer(openclip, exports):
  folders, params = exports
  place = f"local-dir:{folders['openclip']}"
  model, _, transform = openclip.open_clip.create_model_and_transforms(place)
  agree(embed(params, NARROW), theirs(openclip, model.eval()))
  crop = dict(inputs.crops())[inputs.SHOWN[0]]
  np.testing.assert_array_equal(
    transform(crop).numpy().transpose(1, 2, 0), openclip.normalised(crop)
  )
  ids = openclip.open_clip.get_tokenizer(place)(list(inputs.TEXTS)).numpy()
  np.testing.assert_array_equal(ids, WORDS(inputs.TEXTS))


def test_transformers_loads_an_exported_folder(openclip, exports):
  folders, params = exports
  model = openclip.CLIPModel.from_pretrained(folders["huggingface"]).eval()
  with openclip.torch.inference_mode():
    z = model(
      pixel_values=openclip.torch.tensor(
        np.array(images.normalise(pixels())).transpose(0, 3, 1, 2)
      ),
      input_ids=openclip.torch.tensor(WORDS(inputs.TEXTS), dtype=openclip.torch.int64),
    )
  reference = z.image_embeds.numpy(), z.text_embeds.numpy(), z.logits_per_image.numpy()
  agree(embed(params, NARROW), reference)


def test_transformers_own_processor_comes_with_an_exported_folder(openclip, exports):
  from transformers import CLIPProcessor

  processor = CLIPProcessor.from_pretrained(exports[0]["huggingface"])
  crop = dict(inputs.crops())[inputs.SHOWN[0]]
  batch = processor(
    text=list(inputs.TEXTS), images=[crop], padding="max_length", return_tensors="np"
  )
  # It pads with the end of text, where CLIP has zeros; the text tower reads its first place.
  ends = np.argmax(batch["input_ids"] == WORDS.end_of_text, axis=1)
  padding = np.arange(WORDS.context_length) > ends[:, None]
  np.testing.assert_array_equal(np.where(padding, 0, batch["input_ids"]), WORDS(inputs.TEXTS))
  pixels = batch["pixel_values"][0].transpose(1, 2, 0)
  np.testing.assert_allclose(pixels, openclip.normalised(crop), atol=1.01 / 255 / min(images.STD))


def test_a_full_width_vit_b16_loads_as_pretrained_weights_and_agrees(openclip, tmp_path):
  sizes = PRESETS["vit_b16"]
  params = drawn(sizes)
  folder = model_folder(tmp_path / "models" / "mine", params, "vit_b16")
  file = convert.export_model(folder, tmp_path / "out")
  model, _, _ = openclip.open_clip.create_model_and_transforms("ViT-B-16", pretrained=str(file))
  agree(embed(params, sizes), theirs(openclip, model.eval()))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_pytorch_file_is_read_in_any_precision(openclip, tmp_path, dtype):
  torch, tensors = openclip.torch, inputs.draw(statedict.shapes(NARROW, "openclip"), 2)
  state = {k: torch.from_numpy(v).to(getattr(torch, dtype)) for k, v in tensors.items()}
  checkpoint_file = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
  torch.save(state if dtype == "float16" else checkpoint_file, tmp_path / "pytorch_model.bin")
  convert.import_model(tmp_path, "vit_b16_narrow", tmp_path / "model", "SRC")
  convert.export_model(tmp_path / "model", tmp_path / "out")
  arrays = weights.read_tensors(tmp_path / "out" / "open_clip_model.safetensors")
  assert set(arrays) == set(state)
  for name, value in state.items():
    np.testing.assert_array_equal(arrays[name], value.float().numpy())


@pytest.mark.parametrize("write", ["pickle", "torch"])
def test_a_malicious_pickle_is_refused_and_not_executed(openclip, tmp_path, write):
  file, mark = tmp_path / "open_clip_pytorch_model.bin", tmp_path / "executed"
  if write == "pickle":
    file.write_bytes(pickle.dumps(Malicious(mark)))
  else:
    openclip.torch.save({"ln_final.bias": Malicious(mark)}, file)
  with pytest.raises(InputError, match=r"open_clip_pytorch_model\.bin .*not executed") as caught:
    convert.import_model(tmp_path, "vit_b16_narrow", tmp_path / "model", "SRC")
  assert not mark.exists()
  # PyTorch's own words would send the user to the unrestricted reader.
  assert "weights_only" not in str(caught.value) and "\x1b" not in str(caught.value)


def damaged(path, number):
  """The file cut or with one byte changed, as `number` says."""
  whole = path.read_bytes()
  rng = np.random.default_rng(number)
  at = int(rng.integers(len(whole)))
  change = bytes([whole[at] ^ (1 + rng.integers(255))]) + whole[at + 1 :] if number % 2 else b""
  path.write_bytes(whole[:at] + change)


@pytest.mark.parametrize("new", [True, False])
def test_a_damaged_pytorch_file_is_refused_whatever_the_damage(openclip, tmp_path, new):
  path, refused = tmp_path / "x.bin", 0
  for number in range(60):
    tensors = {"a": openclip.torch.ones(3), "b": openclip.torch.zeros(2, 2)}
    openclip.torch.save(tensors, path, _use_new_zipfile_serialization=new)
    damaged(path, number)
    try:
      weights.read_tensors(path)  # A changed byte of a number is no damage that shows.
    except InputError as error:
      refused += str(path) in str(error)
  assert refused > 30


def test_trainable_parameters_are_read_and_what_are_no_weights_is_refused(openclip, tmp_path):
  torch, path = openclip.torch, tmp_path / "x.pt"
  torch.save(dict(torch.nn.Linear(2, 3).named_parameters()), path)
  assert {k: v.shape for k, v in weights.read_tensors(path).items()} == {
    "weight": (3, 2),
    "bias": (3,),
  }
  for value in (torch.ones(2, dtype=torch.complex64), torch.eye(2).to_sparse()):
    torch.save({"odd": value}, path)
    with pytest.raises(InputError, match=r"x\.pt: odd is complex or sparse"):
      weights.read_tensors(path)
  torch.save([torch.ones(2)], path)
  with pytest.raises(InputError, match="does not hold a state dict"):
    weights.read_tensors(path)


def test_tokens_of_thousands_of_odd_strings_are_openclips(openclip):
  texts = inputs.strings(3000, seed=0)
  np.testing.assert_array_equal(WORDS(texts), openclip.tokens(texts))


@pytest.mark.parametrize("size", [224, 64, 336])
def test_every_pixel_is_within_one_step_of_torchvisions(openclip, size):
  for name, crop in inputs.crops():
    ours = images.resize_and_crop(crop, size).astype(int)
    assert np.abs(ours - openclip.pixels(crop, size)).max() <= 1, name


@pytest.mark.parametrize("mode", MODES)
def test_pictures_of_any_mode_are_those_of_torchvisions_loader(openclip, tmp_path, mode):
  from torchvision.datasets.folder import pil_loader

  path = tmp_path / "picture"
  path.write_bytes(encoded(mode, (300, 260)))
  ours = images.resize_and_crop(images.decode(path.read_bytes(), "row"), 224)
  np.testing.assert_array_equal(ours, openclip.pixels(pil_loader(str(path))))


def test_preprocessing_moves_no_embedding(openclip):
  params, crops = drawn(NARROW), [crop for _, crop in inputs.crops()]
  model = clip.CLIP(NARROW)
  encode = jax.jit(lambda p, i: model.apply({"params": p}, i, method=clip.CLIP.encode_image))
  ours = images.normalise(np.stack([images.resize_and_crop(crop, 224) for crop in crops]))
  reference = np.stack([openclip.normalised(crop) for crop in crops])
  np.testing.assert_allclose(encode(params, ours), encode(params, reference), rtol=0, atol=1e-5)
