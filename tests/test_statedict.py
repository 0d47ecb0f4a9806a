"""Parameters as PyTorch's tensors: a round trip is bitwise, and every tensor is accounted for."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from little import PARAMS, SIZES

from salmu_jax.errors import InputError
from salmu_jax.interop import statedict, weights
from salmu_jax.models import clip

PLAIN = jax.device_get(PARAMS)


def same(a, b):
  assert jax.tree.map(np.shape, a) == jax.tree.map(np.shape, b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("layout", statedict.LAYOUTS)
def test_a_round_trip_gives_the_same_bits_scanned_or_not(layout):
  tensors = statedict.to_tensors(PLAIN, SIZES, layout)
  assert statedict.layout_of(tensors) == layout
  assert {value.dtype for value in tensors.values()} == {np.dtype("float32")}
  same(statedict.from_tensors(tensors, SIZES, "x"), PLAIN)
  stacked = jax.device_get(clip.stack_layers(PLAIN))
  again = statedict.to_tensors(stacked, SIZES, layout)
  for name, value in tensors.items():
    np.testing.assert_array_equal(again[name], value)


def test_tensors_mean_what_pytorchs_layers_mean():
  tensors = statedict.to_tensors(PLAIN, SIZES, "openclip")
  kernel = PLAIN["visual"]["conv1"]["kernel"]
  assert tensors["visual.conv1.weight"].shape == (12, 3, 8, 8)
  assert tensors["visual.conv1.weight"][5, 2, 3, 4] == kernel[3, 4, 2, 5]
  block = PLAIN["text"]["transformer"]["block_0"]
  name = "transformer.resblocks.0.attn.in_proj_weight"
  x = np.random.default_rng(0).normal(size=8).astype(np.float32)
  np.testing.assert_allclose(tensors[name] @ x, x @ block["in_proj"]["kernel"], atol=1e-6)
  assert tensors["text_projection"].shape == (8, 8) and tensors["logit_scale"].shape == ()


def test_separate_projections_of_huggingface_are_thirds_of_the_joined_one():
  separate = statedict.to_tensors(PLAIN, SIZES, "huggingface")
  joined = statedict.to_tensors(PLAIN, SIZES, "openclip")
  for kind, whole in (("weight", "in_proj_weight"), ("bias", "in_proj_bias")):
    parts = [
      separate[f"vision_model.encoder.layers.0.self_attn.{part}_proj.{kind}"] for part in "qkv"
    ]
    expected = joined[f"visual.transformer.resblocks.0.attn.{whole}"]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
  np.testing.assert_array_equal(separate["text_projection.weight"], joined["text_projection"].T)


def test_prefixes_buffers_and_half_precision_of_other_versions_are_read():
  tensors = statedict.to_tensors(PLAIN, SIZES, "openclip")
  text = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
  custom = {f"text.{k}" if k.startswith(text) else k: v for k, v in tensors.items()}
  custom |= {"attn_mask": np.zeros((7, 7)), "logit_scale": tensors["logit_scale"].reshape(1)}
  same(statedict.from_tensors({f"module.{k}": v for k, v in custom.items()}, SIZES, "x"), PLAIN)
  huggingface = statedict.to_tensors(PLAIN, SIZES, "huggingface")
  huggingface["text_model.embeddings.position_ids"] = np.arange(7)[None]
  same(statedict.from_tensors(huggingface, SIZES, "x"), PLAIN)
  for dtype in (np.float16, ml_dtypes.bfloat16):
    half = {name: value.astype(dtype) for name, value in tensors.items()}
    params = statedict.from_tensors(half, SIZES, "x")
    expected = jax.tree.map(lambda x, d=dtype: x.astype(d).astype(np.float32), PLAIN)
    same(params, expected)


def damaged(name, change):
  tensors = statedict.to_tensors(PLAIN, SIZES, "openclip")
  return {**tensors, name: change(tensors[name])}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value):
  tensors = damaged("ln_final.bias", lambda x: np.full_like(x, value))
  with pytest.raises(InputError, match=r"file\.bin .*: ln_final\.bias holds NaN or infinity"):
    statedict.from_tensors(tensors, SIZES, "file.bin")


def test_a_wrong_width_is_refused_with_both_shapes_and_a_count_of_further_faults():
  wide = SIZES._replace(vision=SIZES.vision._replace(width=24))
  with pytest.raises(
    InputError, match=r"visual\.\S+ is \(12,\), this model has \(24,\).*and \d+ more"
  ):
    statedict.from_tensors(statedict.to_tensors(PLAIN, SIZES, "openclip"), wide, "x")


def test_missing_and_extra_tensors_are_both_listed():
  tensors = statedict.to_tensors(PLAIN, SIZES, "openclip")
  del tensors["visual.proj"], tensors["ln_final.weight"]
  tensors["visual.attn_pool.probe"] = np.zeros(3)
  with pytest.raises(InputError) as error:
    statedict.from_tensors(tensors, SIZES, "x")
  for words in ("visual.proj is missing", "ln_final.weight is missing", "attn_pool.probe is not"):
    assert words in str(error.value)


def test_every_kind_of_fault_is_listed_even_if_there_are_many_of_another():
  tensors = statedict.to_tensors(PLAIN, SIZES, "openclip")
  renamed = [name for name in tensors if "resblocks" in name]
  for name in renamed:
    tensors[name.replace("resblocks", "blocks")] = tensors.pop(name)
  tensors["visual.proj"] = np.zeros((2, 3), np.float32)
  tensors["ln_final.weight"] = np.full(8, np.nan, np.float32)
  with pytest.raises(InputError) as error:
    statedict.from_tensors(tensors, SIZES, "x")
  for words in (
    "resblocks.0.ln_1.weight is missing",
    "blocks.0.ln_1.weight is not a tensor of this model",
    f"and {len(renamed) - 5} more like that",
    "visual.proj is (2, 3), this model has (12, 8)",
    "ln_final.weight holds NaN",
  ):
    assert words in str(error.value)


def test_another_number_of_layers_is_refused():
  deep = SIZES._replace(text=SIZES.text._replace(layers=2))
  with pytest.raises(InputError, match=r"transformer\.resblocks\.1\.ln_1\.weight is missing"):
    statedict.from_tensors(statedict.to_tensors(PLAIN, SIZES, "openclip"), deep, "x")


def test_nothing_of_the_model_is_left_out():
  count = sum(x.size for x in jax.tree.leaves(PLAIN))
  for layout in statedict.LAYOUTS:
    tensors = statedict.to_tensors(PLAIN, SIZES, layout)
    assert sum(value.size for value in tensors.values()) == count


@pytest.mark.parametrize("kind", ["int8", "int64", "complex64", "bool"])
def test_weights_of_no_floating_point_numbers_are_refused_by_name(kind):
  tensors = statedict.to_tensors(PLAIN, SIZES, "openclip")
  tensors["ln_final.bias"] = tensors["ln_final.bias"].astype(kind)
  with pytest.raises(InputError, match=rf"ln_final\.bias holds {kind}, not floating-point numbers"):
    statedict.from_tensors(tensors, SIZES, "x")
  tensors["ln_final.bias"] = np.zeros(8, ml_dtypes.bfloat16)
  statedict.from_tensors(tensors, SIZES, "x")


@pytest.mark.parametrize("value", [1e30, -1e30, 90.0])
def test_a_logit_scale_whose_exponential_overflows_is_refused(value):
  tensors = statedict.to_tensors(PLAIN, SIZES, "openclip")
  tensors["logit_scale"] = np.float32(value)
  with pytest.raises(InputError, match="which is not the logarithm of a logit scale"):
    statedict.from_tensors(tensors, SIZES, "x")


@pytest.mark.parametrize("kind, size", [("F8_E4M3", 1), ("F8_E5M2", 1), ("F4", 0.5)])
def test_numbers_that_numpy_has_not_are_named_by_their_file(kind, size, tmp_path):
  about = {"dtype": kind, "shape": [2, 2], "data_offsets": [0, int(4 * size)]}
  header = json.dumps({"a": about}).encode()
  header += b" " * (-len(header) % 8)
  path = tmp_path / "x.safetensors"
  path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(int(4 * size)))
  with pytest.raises(
    InputError, match=r"x\.safetensors holds numbers of another type than float16"
  ):
    weights.read_tensors(path)
