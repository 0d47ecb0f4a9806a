"""Weights from elsewhere: what is read as it is, and what is refused with what would be right."""

import json
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
from modelfolders import FACTS, INIT, NARROW, TINY, WORDS, params_of

from salmu_jax.data import tokenizers
from salmu_jax.errors import InputError
from salmu_jax.interop import convert, external_models, modelconfig, statedict, weights
from salmu_jax.models import clip
from salmu_jax.runtime import files, sharding
from salmu_jax.train import checkpoint

PARAMS = jax.device_get(INIT(clip.CLIP(NARROW), 1))
TENSORS = {layout: statedict.to_tensors(PARAMS, NARROW, layout) for layout in statedict.LAYOUTS}
MESH = sharding.make_mesh(jax.devices()[:1])


def source(folder, layout="openclip", tensors=None, config=None):
  """A folder as OpenCLIP or Hugging Face publish a model; an empty config is left out."""
  folder.mkdir()
  content = {name: np.asarray(value) for name, value in (tensors or TENSORS[layout]).items()}
  safetensors.numpy.save_file(content, folder / modelconfig.WEIGHTS[layout])
  modelconfig.write(folder, NARROW, layout)
  path = folder / {"openclip": "open_clip_config.json", "huggingface": "config.json"}[layout]
  if config:
    path.write_text(json.dumps(config))
  elif config is not None:
    path.unlink()
  return folder


def brought(folder, preset="vit_b16_narrow"):
  """The parameters after an import."""
  target = folder.parent / "brought"
  convert.import_model(folder, preset, target, "SRC")
  return params_of(target, NARROW)


def same(params, expected=PARAMS):
  assert jax.tree.structure(params) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, params, expected)


WRAPPERS = {
  "DistributedDataParallel": lambda name: f"module.{name}",
  "torch.compile": lambda name: f"_orig_mod.{name}",
  "both": lambda name: f"_orig_mod.module.{name}",
  "a trainer": lambda name: f"model.{name}",
  "a compiled tower": lambda name: name.replace("visual.", "visual._orig_mod.", 1),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("layout", statedict.LAYOUTS)
def test_what_wrappers_add_to_names_is_taken_off(wrap, layout, tmp_path):
  tensors = {wrap(name): value for name, value in TENSORS[layout].items()}
  same(brought(source(tmp_path / "src", layout, tensors)))


def test_two_tensors_of_one_plain_name_are_refused():
  tensors = {**TENSORS["openclip"], "module.logit_scale": np.float32(1)}
  with pytest.raises(InputError, match=r"x holds two tensors logit_scale, one .* module\.logit"):
    statedict.from_tensors(tensors, NARROW, "x")


@pytest.mark.parametrize(
  "change, says",
  [
    ({"logit_scale": np.float32(1e30)}, r"not the logarithm of a logit scale"),
    ({"logit_scale": np.float32(np.nan)}, r"logit_scale holds NaN"),
    ({"logit_scale": None}, r"logit_scale is missing"),
    ({"ln_final.bias": np.full(64, 1e300)}, r"ln_final\.bias holds NaN or infinity"),
  ],
)
def test_numbers_that_no_model_has_are_refused(change, says, tmp_path):
  tensors = {k: v for k, v in {**TENSORS["openclip"], **change}.items() if v is not None}
  with pytest.raises(InputError, match=rf"SRC: .*{says}"):
    brought(source(tmp_path / "src", tensors=tensors))


@pytest.mark.parametrize("layout", statedict.LAYOUTS)
def test_shapes_tell_the_preset_where_there_is_no_config(layout, tmp_path, capsys):
  folder = source(tmp_path / "src", layout, config={})
  assert convert.preset_of(str(folder), "SRC") == "vit_b16_narrow"
  assert "heads of 32 dimensions" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("shape", [(0, 64), (3,), ()])
def test_tensors_of_impossible_shapes_are_refused(shape, tmp_path):
  tensors = {**TENSORS["openclip"], "visual.positional_embedding": np.zeros(shape, np.float32)}
  folder = source(tmp_path / "src", tensors=tensors, config={})
  with pytest.raises(InputError, match=r"SRC: "):
    brought(folder, convert.preset_of(str(folder), "SRC"))


def pictures(folder, **changes):
  """Turns what transformers 4 writes of pictures into what transformers 5 does."""
  path = folder / "preprocessor_config.json"
  settings = {**json.loads(path.read_text()), **changes}
  path.unlink()
  content = {"image_processor": settings, "processor_class": "CLIPProcessor"}
  (folder / "processor_config.json").write_text(json.dumps(content))
  return folder


def test_a_processor_of_transformers_5_is_read(tmp_path):
  same(brought(pictures(source(tmp_path / "src", "huggingface"))))


@pytest.mark.parametrize(
  "key, value",
  [
    ("image_mean", [0.5, 0.5, 0.5]),
    ("image_std", [0.5, 0.5, 0.5]),
    ("rescale_factor", 1),
    ("do_rescale", False),
    ("resample", 2),
    ("size", {"shortest_edge": 336}),
  ],
)
def test_a_processor_of_transformers_5_that_differs_is_refused(key, value, tmp_path):
  folder = pictures(source(tmp_path / "src", "huggingface"), **{key: value})
  with pytest.raises(InputError, match=rf"processor_config\.json: {key} is "):
    brought(folder)


@pytest.mark.parametrize("content", ["", "\0\0", "[]", '{"image_processor": []}', "[" * 10**5])
@pytest.mark.parametrize("name", ["processor_config.json", "preprocessor_config.json"])
def test_a_damaged_processor_is_refused(name, content, tmp_path):
  folder = source(tmp_path / "src", "huggingface")
  if name == "preprocessor_config.json" and "image_processor" in content:
    content = "null"
  (folder / name).write_text(content)
  with pytest.raises(InputError, match=rf"{name} "):
    brought(folder)


def test_a_processor_of_earlier_versions_says_nothing_of_pictures(tmp_path):
  folder = source(tmp_path / "src", "huggingface")
  (folder / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
  same(brought(folder))


SIGLIP = {
  "embed_dim": 768,
  "init_logit_bias": -10,
  "vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224"},
  "text_cfg": {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP", "no_causal_mask": True},
}


@pytest.mark.parametrize(
  "layout, config",
  [
    ("huggingface", {"model_type": "siglip", "vision_config": {}, "text_config": {}}),
    ("huggingface", {"model_type": "siglip2"}),
    ("openclip", {"model_cfg": SIGLIP}),
  ],
)
def test_siglip_is_named(layout, config, tmp_path):
  folder = source(tmp_path / "src", layout, config=config)
  for bring in (brought, lambda folder: convert.preset_of(str(folder), "SRC")):
    with pytest.raises(InputError, match=r"That is SigLIP, .* only CLIP is supported"):
      bring(folder)


@pytest.mark.parametrize("value", [10**9, 10**30, 1e400, True, "12", None, -1])
def test_sizes_that_no_model_has_are_refused_by_name(value, tmp_path):
  config = {"model_cfg": {"embed_dim": 64, "vision_cfg": {"layers": value}, "text_cfg": {}}}
  folder = source(tmp_path / "src", config=config)
  with pytest.raises(InputError, match=r"vision\.layers is .* whole number from 1 to 1,000"):
    convert.preset_of(str(folder), "SRC")


def sharded(folder, layout="huggingface", change=lambda table: table):
  """Splits the weights of a folder over three files with an index."""
  source(folder, layout)
  whole, tensors = folder / modelconfig.WEIGHTS[layout], TENSORS[layout]
  whole.unlink()
  table = {}
  for number in range(3):
    part = {name: tensors[name] for name in sorted(tensors)[number::3]}
    name = f"{whole.stem}-{number + 1:05d}-of-00003.safetensors"
    safetensors.numpy.save_file(part, folder / name)
    table |= dict.fromkeys(part, name)
  index = json.dumps({"metadata": {}, "weight_map": change(table)})
  (folder / f"{whole.name}.index.json").write_text(index)
  return folder


@pytest.mark.parametrize("layout", statedict.LAYOUTS)
def test_weights_in_several_files_are_read_and_named_by_all_of_them(layout, tmp_path):
  folder = sharded(tmp_path / "src", layout)
  same(brought(folder))
  shard = sorted(folder.glob("*-00002-*"))[0]
  tensors = safetensors.numpy.load_file(shard)
  safetensors.numpy.save_file({k: v + 1 for k, v in tensors.items()}, shard)
  with pytest.raises(InputError, match=r"imported\.sha256 was"):
    brought(folder)


@pytest.mark.parametrize(
  "change, says",
  [
    (lambda t: {**t, "logit_scale": "../x.safetensors"}, r"'\.\./x\.safetensors' as the file of"),
    (lambda t: {**t, "logit_scale": "/etc/passwd"}, r"'/etc/passwd' as the file of logit_scale"),
    (lambda t: {**t, "logit_scale": 3}, r"3 as the file of logit_scale"),
    (lambda t: {**t, "logit_scale": "other.bin"}, r"'other\.bin' as the file of logit_scale"),
    (lambda t: {**t, "logit_scale": "no.safetensors"}, r"lists no\.safetensors, which is not"),
    (lambda t: {**t, "more": t["logit_scale"]}, r"lists more in .* does not hold it"),
    (lambda t: {k: v for k, v in t.items() if k != "logit_scale"}, r"holds logit_scale, which"),
    (list, r"is damaged: 'weight_map' is \["),
    (lambda t: {}, r"logit_scale is missing"),
  ],
)
def test_an_index_that_is_not_of_its_files_is_refused(change, says, tmp_path):
  with pytest.raises(InputError, match=rf"SRC: .*{says}"):
    brought(sharded(tmp_path / "src", change=change))


def test_files_of_other_names_are_listed(tmp_path):
  folder = source(tmp_path / "src")
  (folder / "open_clip_model.safetensors").rename(folder / "epoch_3.safetensors")
  with pytest.raises(InputError, match=r"It holds epoch_3\.safetensors: name the file to use"):
    brought(folder)
  convert.import_model(folder / "epoch_3.safetensors", "vit_b16_narrow", tmp_path / "dst", "SRC")


HEADERS = {
  "nothing": b"",
  "a header larger than any file": (2**63).to_bytes(8, "little") + b"{}",
  "a header that is cut": (1000).to_bytes(8, "little") + b'{"a":',
  "a header that is no object": (3).to_bytes(8, "little") + b"[1]",
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_a_file_without_a_whole_header_is_refused(content, tmp_path):
  path = tmp_path / "x.safetensors"
  path.write_bytes(content)
  with pytest.raises(InputError, match=r"x\.safetensors is truncated, damaged"):
    weights.read_tensors(path)


def test_two_tensors_of_one_name_in_a_file_are_refused(tmp_path):
  entry = '"a":{"dtype":"F32","shape":[2],"data_offsets":[%d,%d]}'
  header = ("{" + entry % (0, 8) + "," + entry % (8, 16) + "}").encode()
  path = tmp_path / "x.safetensors"
  path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
  with pytest.raises(InputError, match=r"x\.safetensors is truncated, damaged"):
    weights.read_tensors(path)


def test_six_bit_numbers_are_named_as_what_they_are(tmp_path):
  header = b'{"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}'
  path = tmp_path / "x.safetensors"
  path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(3))
  with pytest.raises(InputError, match=r"holds numbers of another type than float16"):
    weights.read_tensors(path)


@pytest.mark.parametrize("scan", [False, True])
def test_a_model_with_a_bias_of_logits_is_exported_and_comes_back(scan, tmp_path):
  model = clip.CLIP(TINY, scan=scan, bias=True)
  params, folder = INIT(model, 0), tmp_path / "models" / "sigmoid"
  checkpoint.save_params(folder / "params", params)
  tokenizers.save(WORDS, folder / "tokenizer.json")
  settings = {"preset": "tiny", "scan": scan, "logit_bias": True}
  files.write_json(folder / "settings.json", {"seed": 0, "model": settings})
  files.write_json(folder / "done.json", FACTS)
  convert.export_model(folder, tmp_path / "out")
  config = files.read_json(tmp_path / "out" / "open_clip_config.json")["model_cfg"]
  assert config["init_logit_bias"] == clip.LOGIT_BIAS_INIT
  for bring in (
    lambda target: convert.import_model(tmp_path / "out", "tiny", target, "SRC"),
    lambda target: convert.restore_model(tmp_path / "out", target, "SRC"),
  ):
    bring(tmp_path / "back")
    same(external_models.load_params(tmp_path / "back", model, MESH), params)
    shutil.rmtree(tmp_path / "back")
  convert.import_model(tmp_path / "out", "tiny", tmp_path / "back", "SRC")
  with pytest.raises(InputError, match=r"logit_bias is not in this model.*config\.model\.logit_b"):
    external_models.load_params(tmp_path / "back", model.clone(bias=False), MESH)
  with pytest.raises(InputError, match=r"has a logit_bias.*Export it in the layout 'openclip'"):
    convert.export_model(folder, tmp_path / "hf", "huggingface")
  assert not (tmp_path / "hf").exists()
