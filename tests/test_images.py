"""Pictures from bytes: every mode becomes RGB, what is no picture is named."""

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
  out = io.BytesIO()
  Image.fromarray(noise).convert(mode).save(out, MODES[mode])
  return out.getvalue()


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_of_any_mode_becomes_rgb_before_it_is_resized(mode):
  data = encoded(mode)
  found = images.decode(data, "row 3")
  assert found.mode == "RGB" and found.size == (40, 30)
  expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
  np.testing.assert_array_equal(np.asarray(found), expected)


@pytest.mark.parametrize("data", [b"", b"no picture", encoded("RGB")[:200]])
def test_what_cannot_be_decoded_is_named_by_its_row(data):
  with pytest.raises(InputError, match="The image of row 3 cannot be decoded"):
    images.decode(data, "row 3")


def test_a_picture_too_large_to_be_meant_is_named_by_its_row(monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
  with pytest.raises(InputError, match="The image of row 3 cannot be decoded"):
    images.decode(encoded("RGB"), "row 3")
