"""Exported folders load elsewhere, a round trip is bitwise, and bad files are refused."""

import json
import pathlib
import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from modelfolders import INIT, NARROW, TINY, WORDS, model_folder, params_of

from salmu_jax.data import tokenizers
from salmu_jax.errors import InputError
from salmu_jax.interop import convert, modelconfig, statedict, weights
from salmu_jax.models import clip
from salmu_jax.models.presets import PRESETS
from salmu_jax.train import checkpoint

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  return model_folder(tmp_path_factory.mktemp("run") / "models" / "vlunlearn")


@pytest.fixture(scope="module")
def exported(finished):
  target = finished.parent.parent / "out"
  convert.export_model(finished, target)
  return target


@pytest.mark.parametrize("layout", statedict.LAYOUTS)
@pytest.mark.parametrize("scan", [False, True])
def test_export_then_import_is_bitwise(tmp_path, layout, scan):
  folder = model_folder(tmp_path / "model", scan=scan)
  convert.export_model(folder, tmp_path / "out", layout)
  convert.import_model(tmp_path / "out", "tiny", tmp_path / "back", "SRC")
  expected = INIT(clip.CLIP(TINY, scan=scan), 0)
  expected = jax.device_get(clip.unstack_layers(expected))
  params = params_of(tmp_path / "back", TINY)
  assert jax.tree.structure(params) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, params, expected)
  assert tokenizers.load(tmp_path / "back" / "tokenizer.json").kept == WORDS.kept


def test_an_exported_compact_vocabulary_embeds_alike_under_clips_own_tokens(exported):
  tensors = weights.read_tensors(exported / "open_clip_model.safetensors")
  full = TINY._replace(vocab_size=49408)
  params = statedict.from_tensors(tensors, full, "x")
  texts = ["a portrait of Ana", "a cat", "Sousa, A+", "blood type"]

  def embed(sizes, params, tokenizer):
    model = clip.CLIP(sizes)
    apply = jax.jit(lambda p, t: model.apply({"params": p}, t, method=clip.CLIP.encode_text))
    return apply(params, tokenizer(texts))

  expected = embed(TINY, INIT(clip.CLIP(TINY), 0), WORDS)
  rows = embed(full, params, tokenizers.clip_tokenizer(40))
  np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_an_exported_folder_has_openclips_files_and_the_models_sizes(exported):
  assert {p.name for p in exported.iterdir()} == {
    "open_clip_model.safetensors",
    "open_clip_config.json",
    "README.md",
    "salmu_jax_tokenizer.json",
    "salmu_jax_stage.json",
  }
  config = json.loads((exported / "open_clip_config.json").read_text())
  assert config["model_cfg"] == {
    "embed_dim": 128,
    "vision_cfg": {
      "image_size": 64,
      "layers": 3,
      "width": 128,
      "head_width": 32,
      "patch_size": 16,
    },
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
  }
  assert config["preprocess_cfg"]["interpolation"] == "bicubic"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("layout", statedict.LAYOUTS)
def test_a_written_config_describes_its_preset_and_no_other(tmp_path, preset, layout):
  sizes = PRESETS[preset]
  written = sizes._replace(vocab_size=sizes.vocab_size or 49408)
  modelconfig.write(tmp_path, written, layout)
  described = [name for name in PRESETS if modelconfig.describes(tmp_path, PRESETS[name])]
  assert described == [preset]
  modelconfig.write(tmp_path, written._replace(quick_gelu=not sizes.quick_gelu), layout)
  assert not modelconfig.describes(tmp_path, sizes)


def openclip_folder(folder, **changes):
  """A folder as OpenCLIP publishes a model; `changes` are of its config's sections."""
  folder.mkdir()
  params = jax.device_get(INIT(clip.CLIP(NARROW), 1))
  tensors = statedict.to_tensors(params, NARROW, "openclip")
  safetensors.numpy.save_file(tensors, folder / "open_clip_model.safetensors")
  modelconfig.write(folder, NARROW, "openclip")
  path = folder / "open_clip_config.json"
  config = json.loads(path.read_text())
  sections = {"model_cfg": config["model_cfg"], "preprocess_cfg": config["preprocess_cfg"]}
  sections |= {key: config["model_cfg"][key] for key in ("vision_cfg", "text_cfg")}
  for section, values in changes.items():
    sections[section].update(values)
  path.write_text(json.dumps(config))
  return folder


@pytest.mark.parametrize(
  "section, key, value, message",
  [
    ("vision_cfg", "width", 128, r"vision\.width is 128, the preset has 64"),
    ("text_cfg", "layers", 3, r"text\.layers is 3, the preset has 2"),
    ("model_cfg", "quick_gelu", True, "quick_gelu is True, the preset has False"),
    ("vision_cfg", "head_width", 0, "is not a config of a CLIP model: ZeroDivisionError"),
    ("preprocess_cfg", "mean", [[0.5], 0.5], "is not a config of a CLIP model: ValueError"),
    (
      "vision_cfg",
      "timm_model_name",
      "vit",
      r"vision_cfg\.timm_model_name is 'vit'; it must be None",
    ),
    ("text_cfg", "pool_type", "last", r"text_cfg\.pool_type is 'last'; it must be 'argmax'"),
    ("text_cfg", "no_causal_mask", True, r"no_causal_mask is True; it must be False"),
    ("vision_cfg", "rope", 1, r"vision_cfg\.rope is 1; this option is not supported"),
    ("preprocess_cfg", "mean", [0.5, 0.5, 0.5], r"preprocess_cfg\.mean is \[0\.5"),
    ("preprocess_cfg", "resize_mode", "squash", r"resize_mode is 'squash'; it must be 'shortest'"),
  ],
)
def test_a_config_that_differs_is_refused_by_its_field(tmp_path, section, key, value, message):
  source = openclip_folder(tmp_path / "src", **{section: {key: value}})
  with pytest.raises(InputError, match=message):
    convert.import_model(source, "vit_b16_narrow", tmp_path / "dst", "SRC")
  assert not (tmp_path / "dst" / "done.json").exists()


@pytest.mark.parametrize(
  "key, value",
  [
    ("image_mean", [0.5, 0.5, 0.5]),
    ("resample", 2),
    ("size", {"height": 256, "width": 256}),
    ("size", 336),
    ("crop_size", 336),
    ("do_center_crop", False),
    ("do_resize", False),
    ("do_normalize", False),
  ],
)
def test_a_preprocessor_that_differs_is_refused_by_its_field(tmp_path, key, value):
  modelconfig.write(tmp_path, NARROW, "huggingface")
  path = tmp_path / "preprocessor_config.json"
  settings = json.loads(path.read_text())
  # As older versions write it.
  path.write_text(json.dumps({**settings, "size": 224, "crop_size": 224}))
  modelconfig.check(tmp_path, NARROW)
  path.write_text(json.dumps({**settings, key: value}))
  with pytest.raises(InputError, match=rf"preprocessor_config\.json: {key} is "):
    modelconfig.check(tmp_path, NARROW)


def test_a_corrected_import_succeeds_after_a_refused_one(tmp_path):
  bad = openclip_folder(tmp_path / "bad", vision_cfg={"width": 128})
  good = openclip_folder(tmp_path / "good")
  with pytest.raises(InputError):
    convert.import_model(bad, "vit_b16_narrow", tmp_path / "dst", "SRC")
  convert.import_model(good, "vit_b16_narrow", tmp_path / "dst", "SRC")
  done = json.loads((tmp_path / "dst" / "done.json").read_text())
  assert done["weights"]["layout"] == "openclip" and done["steps"] is None
  other = openclip_folder(tmp_path / "other", model_cfg={"quick_gelu": False})
  (other / "open_clip_model.safetensors").unlink()
  safetensors.numpy.save_file(
    statedict.to_tensors(jax.device_get(INIT(clip.CLIP(NARROW), 2)), NARROW, "openclip"),
    other / "open_clip_model.safetensors",
  )
  with pytest.raises(InputError, match=r"imported\.sha256 was "):
    convert.import_model(other, "vit_b16_narrow", tmp_path / "dst", "SRC")


def contents(folder):
  return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("left", ["thesis.txt", "settings.json", "params/x"])
def test_a_folder_with_other_content_is_never_touched(tmp_path, left):
  source, target = openclip_folder(tmp_path / "src"), tmp_path / "dst"
  (target / left).parent.mkdir(parents=True)
  (target / left).write_text('{"imported": {}}')
  for preset in ("vit_b32", "vit_b16_narrow"):
    with pytest.raises(InputError, match=r"dst already exists.*Nothing in it was changed"):
      convert.import_model(source, preset, target, "SRC")
  assert contents(target) == {pathlib.Path(left): b'{"imported": {}}'}


def test_weights_are_not_imported_into_their_own_folder(tmp_path):
  source = openclip_folder(tmp_path / "src")
  before = contents(source)
  for _ in range(2):
    with pytest.raises(InputError, match="already exists"):
      convert.import_model(source, "vit_b16_narrow", source, "SRC")
  assert contents(source) == before


def test_a_refused_import_leaves_nothing_behind(tmp_path):
  source = openclip_folder(tmp_path / "src", vision_cfg={"width": 128})
  with pytest.raises(InputError):
    convert.import_model(source, "vit_b16_narrow", tmp_path / "models" / "dst", "SRC")
  assert not list((tmp_path / "models").iterdir())


def test_weights_are_identified_by_their_content_and_not_needed_twice(tmp_path, monkeypatch):
  source = openclip_folder(tmp_path / "src")
  target = tmp_path / "dst"
  convert.import_model(source, "vit_b16_narrow", target, "SRC")
  before = contents(target)
  monkeypatch.chdir(tmp_path)
  convert.import_model("src", "vit_b16_narrow", target, "SRC")
  moved = source.rename(tmp_path / "moved")
  convert.import_model(moved, "vit_b16_narrow", target, "SRC")
  convert.import_model(source, "vit_b16_narrow", target, "SRC")
  assert contents(target) == before
  with pytest.raises(InputError, match="nowhere is neither a file"):
    convert.import_model(tmp_path / "nowhere", "vit_b16_narrow", target, "SRC")
  with pytest.raises(InputError, match=r"model\.preset was 'vit_b16_narrow'"):
    convert.import_model(source, "vit_b16", target, "SRC")


def test_an_export_to_a_full_disk_is_reported_and_leaves_nothing(finished, tmp_path):
  program = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); "
    "from salmu_jax.interop import convert; sys.exit(convert.main(sys.argv[1:]))"
  )
  done = subprocess.run(
    [sys.executable, "-c", program, finished, tmp_path / "out"],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 1 and done.stderr.startswith("error: Cannot write"), done.stderr
  assert not list(tmp_path.iterdir())


def truncated(path):
  path.write_bytes(path.read_bytes()[:-100])


def garbage(path):
  path.write_bytes(b"garbage " * 40)


def empty(path):
  path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncated, garbage, empty])
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
  source = openclip_folder(tmp_path / "src")
  damage(source / "open_clip_model.safetensors")
  with pytest.raises(InputError, match=r"open_clip_model\.safetensors is truncated, damaged"):
    convert.import_model(source, "vit_b16_narrow", tmp_path / "dst", "SRC")


class Malicious:
  """Unpickling it would create a file."""

  def __init__(self, mark):
    self.mark = mark

  def __reduce__(self):
    return pathlib.Path.touch, (self.mark,)


def test_without_torch_a_pickle_is_refused_unread_with_the_way_round(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  file, mark = tmp_path / "open_clip_pytorch_model.bin", tmp_path / "executed"
  file.write_bytes(pickle.dumps(Malicious(mark)))
  with pytest.raises(InputError, match=r"torch is not installed here.*salmu_jax\.interop\.convert"):
    convert.import_model(tmp_path, "vit_b16_narrow", tmp_path / "dst", "SRC")
  assert not mark.exists()


def test_a_missing_source_and_a_file_without_weights_are_reported(tmp_path):
  with pytest.raises(InputError, match=r"config\.init\.clean: .*nowhere is neither a file"):
    convert.import_model(tmp_path / "nowhere", "vit_b16", tmp_path / "dst", "config.init.clean")
  (tmp_path / "notes.txt").write_text("x")
  with pytest.raises(InputError, match=r"notes\.txt is not a file of weights"):
    convert.import_model(tmp_path / "notes.txt", "vit_b16", tmp_path / "dst", "SRC")
  assert not (tmp_path / "dst" / "done.json").exists()


def test_safetensors_are_preferred_to_a_pickle_beside_them(tmp_path):
  source = openclip_folder(tmp_path / "src")
  (source / "open_clip_pytorch_model.bin").write_bytes(b"never read")
  convert.import_model(source, "vit_b16_narrow", tmp_path / "dst", "SRC")


def test_an_export_never_overwrites(finished, exported, tmp_path):
  before = {p: p.read_bytes() for p in exported.iterdir()}
  with pytest.raises(InputError, match="already exists and is not an empty folder"):
    convert.export_model(finished, exported)
  assert {p: p.read_bytes() for p in exported.iterdir()} == before
  (tmp_path / "empty").mkdir()
  convert.export_model(finished, tmp_path / "empty")
  with pytest.raises(InputError, match="is not a finished model folder"):
    convert.export_model(tmp_path, tmp_path / "out")


def test_an_unlearned_models_card_states_method_budget_data_and_metrics(tmp_path):
  run = {
    "method": "vlunlearn",
    "args": {"forget": 2.0},
    "budget": 5.0,
    "batch_size": 16,
    "start": "abc",
    "release": "def",
    "optimizer": {"learning_rate": 1e-5},
  }
  folder = model_folder(tmp_path / "models" / "my_run", **run)
  convert.export_model(folder, tmp_path / "bare")
  card = (tmp_path / "bare" / "README.md").read_text()
  assert card.startswith("---\nlibrary_name: open_clip\n")
  for words in ("vlunlearn", "5x", "forget 2.0", "forget, retain", "1e-05", "Not evaluated."):
    assert words in card, words
  kept = ROOT / "experiments" / "mini" / "results"
  results = tmp_path / "results"
  results.mkdir()
  (results / "my_run.json").write_text((kept / "vlunlearn.json").read_text())
  convert.export_model(folder, tmp_path / "judged", "huggingface")
  card = (tmp_path / "judged" / "README.md").read_text()
  value = json.loads((kept / "vlunlearn.json").read_text())["utility"]["2.2_InterIdSim"]["mean"]
  assert f"{value:.5f}" in card and "library_name: transformers" in card


def test_the_command_converts_both_ways_and_explains_errors(finished, tmp_path, capsys):
  assert convert.main([str(finished), str(tmp_path / "out")]) == 0
  assert "config and model card" in capsys.readouterr().out
  assert convert.main([str(tmp_path / "out"), str(tmp_path / "back")]) == 0
  assert "preset tiny" in capsys.readouterr().out
  assert convert.main([str(tmp_path / "out"), str(tmp_path / "back")]) == 0
  assert convert.main([str(finished), str(tmp_path / "out")]) == 1
  assert "error: " in capsys.readouterr().err
  file = tmp_path / "alone.safetensors"
  file.write_bytes((tmp_path / "out" / "open_clip_model.safetensors").read_bytes())
  assert convert.main([str(file), str(tmp_path / "x")]) == 0
  said = capsys.readouterr()
  assert "alone.safetensors has no config beside it" in " ".join(said.err.split())
  assert "preset vit-64-16-128x3x2-64x2x1-128-40-49408" in said.out
  assert convert.main([str(file), str(tmp_path / "y"), "--preset", "vit_b61"]) == 1
  assert "Did you mean 'vit_b16'" in capsys.readouterr().err


@pytest.mark.parametrize(
  "argv, said",
  [
    (("", ""), "SRC is empty"),
    (("model", ""), "DST is empty"),
    (("model", "out[1]"), "DST = 'out[1]' has [ in its path"),
    (("weights", "out*"), "DST = 'out*' has * in its path"),
    (("model[1]", "out"), "SRC = 'model[1]' has [ in its path"),
    (
      ("model", "model/sub"),
      "DST = 'HERE/model/sub' lies in SRC = 'HERE/model', which is only read",
    ),
    (("weights", "weights/sub"), "DST = 'HERE/weights/sub' lies in SRC = 'HERE/weights', whi"),
    (("model", ".x.unfinished"), "DST = '.x.unfinished' has a name reserved for unfinished files"),
    ((".out.partial", "out"), "SRC = '.out.partial' has a name reserved for unfinished files"),
    (("model", "out", "--preset=nope"), "--preset=nope is for foreign weights, but SRC = 'model'"),
    (("weights", "out", "--layout=openclip"), "--layout=openclip is for exports, but SRC = 'we"),
  ],
)
def test_what_the_command_cannot_convert_is_named_and_nothing_is_written(
  argv, said, finished, exported, tmp_path, monkeypatch, capsys
):
  for name in ("model", "model[1]"):
    (tmp_path / name).symlink_to(finished)
  for name in ("weights", ".out.partial"):
    (tmp_path / name).symlink_to(exported)
  monkeypatch.chdir(tmp_path)
  there = [sorted(folder.iterdir()) for folder in (tmp_path, finished, exported)]
  assert convert.main(list(argv)) == 1
  assert said.replace("HERE", str(tmp_path)) in capsys.readouterr().err
  assert there == [sorted(folder.iterdir()) for folder in (tmp_path, finished, exported)]


@pytest.mark.parametrize("name", ["a[1]", "a*"])
def test_orbax_is_given_no_path_with_a_wildcard(name, tmp_path):
  with pytest.raises(InputError, match="in its path"):
    checkpoint.save_params_alone(tmp_path / name, {"a": np.zeros(1)})
  assert not list(tmp_path.iterdir())
