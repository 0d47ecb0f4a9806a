"""Pictures are decoded from any mode, resized, cropped and normalised; broken ones are named."""

import io

import numpy as np
import pytest
from PIL import Image

from salmu_jax.data import images
from salmu_jax.errors import InputError

MODES = {
  "RGB": "PNG",
  "L": "PNG",
  "LA": "PNG",
  "P": "PNG",
  "RGBA": "PNG",
  "1": "PNG",
  "CMYK": "JPEG",
}


def encoded(mode, size=(40, 30)):
  noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(noise).convert(mode).save(buffer, MODES[mode])
  return buffer.getvalue()


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_of_any_mode_becomes_rgb_before_it_is_resized(mode):
  data = encoded(mode)
  picture = images.decode(data, "row 3")
  assert picture.mode == "RGB" and picture.size == (40, 30)
  expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
  np.testing.assert_array_equal(np.asarray(picture), expected)


@pytest.mark.parametrize("data", [b"no picture", encoded("RGB")[:200]])
def test_what_cannot_be_decoded_is_named_by_its_row(data):
  with pytest.raises(InputError, match="The image of row 3 cannot be decoded"):
    images.decode(data, "row 3")
  with pytest.raises(InputError, match="The image of row 3 is empty"):
    images.decode(b"", "row 3")


def test_whatever_a_decoder_raises_is_said_of_the_row(monkeypatch):
  for error in (KeyError("x"), NotImplementedError("x"), MemoryError("x"), EOFError()):
    monkeypatch.setattr(Image, "open", lambda file, error=error: (_ for _ in ()).throw(error))
    with pytest.raises(InputError, match="The image of row 3 cannot be decoded"):
      images.decode(b"x", "row 3")


def saved(pixels, kind="PNG"):
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, kind)
  return buffer.getvalue()


def test_a_picture_too_large_or_too_narrow_to_be_meant_is_refused_before_it_is_decoded(monkeypatch):
  narrow, large = (saved(np.zeros(shape, np.uint8)) for shape in ((10_000, 1), (100, 101)))
  monkeypatch.setattr(images, "MOST_PIXELS", 10_000)
  monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
  with pytest.raises(InputError, match="row 3 has 1 x 10,000 pixels; one side may be at most 100"):
    images.decode(narrow, "row 3")
  with pytest.raises(InputError, match="row 3 has 101 x 100 pixels; the maximum is 10,000"):
    images.decode(large, "row 3")


def test_a_picture_of_one_pixel_is_one():
  assert images.decode(saved(np.full((1, 1, 3), 7, np.uint8)), "row 3").getpixel((0, 0)) == (7,) * 3


def test_grey_of_sixteen_bits_is_scaled_and_floats_are_refused():
  values = np.array([[0, 257, 32_896, 65_535]], np.uint16)
  for data in (saved(values), saved(values, "TIFF")):
    picture = images.decode(data, "row 3")
    assert np.asarray(picture)[0, :, 0].tolist() == [0, 1, 128, 255]
  with pytest.raises(InputError, match=r"row 3 holds floats\. Save it with 8 or 16 bits"):
    images.decode(saved(np.ones((2, 2), np.float32), "TIFF"), "row 3")
  with pytest.raises(InputError, match="row 3 has values beyond 16 bits"):
    images.decode(saved(np.full((2, 2), 70_000, np.int32), "TIFF"), "row 3")


@pytest.mark.parametrize(
  "kind, seen", [("TIFF", [0, 17, 255]), ("IM", [0, 17, 255]), ("PPM", [0, 0, 0])]
)
def test_small_values_of_32_bits_are_grey_of_8_bits_and_of_16_bits_they_are_dark(kind, seen):
  """A PPM that Pillow reads as 32 bits holds 16; so does a PNG or a TIFF of 16 bits."""
  values = np.array([[0, 17, 255]])
  picture = images.decode(saved(values.astype(np.int32), kind), "row 3")
  assert np.asarray(picture)[0, :, 0].tolist() == seen
  for of_sixteen in ("PNG", "TIFF"):
    dark = images.decode(saved(values.astype(np.uint16), of_sixteen), "row 3")
    assert np.asarray(dark)[0, :, 0].tolist() == [0, 0, 0]


def test_bytes_of_no_picture_are_said_to_be_none_and_no_object_in_memory_is_named():
  with pytest.raises(InputError, match=r"decoded \(unknown image format\)"):
    images.decode(b"no picture", "row 3")


def test_the_bound_here_alone_decides_how_large_a_picture_may_be(recwarn):
  data = saved(np.zeros((9_600, 10_400), bool))  # where Pillow's own bound would warn
  assert images.decode(data, "row 3").size == (10_400, 9_600)
  assert not recwarn.list


def test_a_picture_that_pillow_refuses_for_its_size_is_named_by_its_row(monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
  with pytest.raises(InputError, match=r"row 3 has more than 100,000,000 pixels.* Scale it down"):
    images.decode(encoded("RGB"), "row 3")


@pytest.mark.parametrize("size", [(64, 64), (64, 80), (171, 512), (512, 171), (33, 100)])
def test_resize_and_crop_keeps_the_centre_of_the_picture(size):
  """Against the definition: shorter side to 16, then the central 16 x 16."""
  pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
  picture = Image.fromarray(pixels)
  short = min(size)
  scaled = picture.resize(tuple(int(16 * s / short) for s in size), Image.Resampling.BICUBIC)
  top, left = round((scaled.height - 16) / 2), round((scaled.width - 16) / 2)
  expected = np.asarray(scaled)[top : top + 16, left : left + 16]
  np.testing.assert_array_equal(images.resize_and_crop(picture, 16), expected)


def test_random_crop_without_randomness_is_the_central_square():
  pixels = np.random.default_rng(0).integers(0, 255, (20, 16, 3), np.uint8)
  crop = images.random_crop(
    Image.fromarray(pixels), 16, np.random.default_rng(0), area=1.0, flip=0.0
  )
  np.testing.assert_array_equal(crop, pixels[2:18])
  mirrored = images.random_crop(
    Image.fromarray(pixels), 16, np.random.default_rng(0), area=1.0, flip=1.0
  )
  np.testing.assert_array_equal(mirrored, pixels[2:18, ::-1])


@pytest.mark.parametrize("size", [(16, 16), (40, 30), (23, 61)])
def test_a_random_crop_is_a_part_of_the_central_square_by_four_uniform_draws(size):
  """Against the definition, one draw at a time; a picture may come as its pixels."""
  pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
  picture, square = Image.fromarray(pixels), min(size)
  for seed in range(20):
    rng, ours, again = (np.random.Generator(np.random.Philox(seed)) for _ in range(3))
    side = square * np.sqrt(rng.uniform(0.3, 1.0))
    left = (size[0] - square) / 2 + rng.uniform(0, square - side)
    top = (size[1] - square) / 2 + rng.uniform(0, square - side)
    box = (left, top, left + side, top + side)
    expected = np.asarray(picture.resize((16, 16), Image.Resampling.BICUBIC, box=box))
    expected = expected[:, ::-1] if rng.uniform() < 0.5 else expected
    crop = images.random_crop(picture, 16, ours, area=0.3, flip=0.5)
    np.testing.assert_array_equal(crop, expected)
    assert rng.random() == ours.random()
    np.testing.assert_array_equal(
      images.random_crop(pixels, 16, again, area=0.3, flip=0.5), expected
    )


@pytest.mark.parametrize("size", [(16, 16), (40, 30), (23, 61)])
def test_an_area_of_one_cuts_as_evaluation_does_and_draws_as_many_numbers(size):
  pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
  picture = Image.fromarray(pixels)
  whole, ours, part = (np.random.default_rng(1) for _ in range(3))
  crop = images.random_crop(picture, 16, whole, area=1.0, flip=0.0)
  np.testing.assert_array_equal(crop, images.resize_and_crop(picture, 16))
  np.testing.assert_array_equal(images.random_crop(crop, 16, ours, area=1.0, flip=0.0), crop)
  images.random_crop(picture, 16, part, area=0.5, flip=0.0)
  assert whole.random() == ours.random() == part.random()


def test_normalise_gives_clips_statistics():
  flat = np.full((1, 2, 2, 3), 128, np.uint8)
  normalised = images.normalise(flat)
  expected = (128 / 255 - np.array(images.MEAN)) / np.array(images.STD)
  np.testing.assert_allclose(normalised[0, 0, 0], expected, rtol=1e-5)
