"""Writes the settings of Hugging Face's image processors, and compares them with this project's."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from salmu_jax.data import images
from salmu_jax.errors import InputError
from salmu_jax.runtime import files

# transformers 5 writes the second, which has a section for images.
FILE, _PROCESSOR, _PICTURES = "preprocessor_config.json", "processor_config.json", "image_processor"


def settings(size: int) -> dict[str, Any]:
  """The settings with which a `CLIPImageProcessor` preprocesses images as this project does."""
  return {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": size},
    "resample": 3,  # Bicubic, as Pillow numbers it.
    "do_center_crop": True,
    "crop_size": {"height": size, "width": size},
    "do_convert_rgb": True,
    "do_normalize": True,
    "image_mean": list(images.MEAN),
    "image_std": list(images.STD),
  }


def check(folder: str | os.PathLike, size: int) -> None:
  """Raises InputError if the settings in a folder give other pixels than this project's.

  Args:
    folder: of weights; the settings may be absent. size: of an image.
  """
  for name in (FILE, _PROCESSOR):
    path = pathlib.Path(folder) / name
    if path.exists():
      with explaining(path):
        content = files.read_object(path)
        # Before transformers 5, the second had no settings of images.
        _check(path, content if name == FILE else content.get(_PICTURES, {}), size)


def _check(path, content, size):
  expected = {**settings(size), "do_rescale": True, "rescale_factor": 1 / 255}
  del expected["image_processor_type"]  # Several classes do the same.
  for key in ("image_mean", "image_std", "rescale_factor"):
    check_close(path, key, content.get(key, expected[key]), expected.pop(key))
  for key, right in expected.items():
    value = content.get(key, right)
    # Older versions write sizes as one number.
    if value != right and not (isinstance(right, dict) and value == size):
      raise InputError(f"{path}: {key} is {value!r}; preprocessing here uses {right!r}.")


@contextlib.contextmanager
def explaining(path: pathlib.Path) -> Iterator[None]:
  """Turns the errors of reading a JSON file of another shape into an InputError."""
  try:
    yield
  except InputError:
    raise
  except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
    raise InputError(
      f"{path} is not a config of a CLIP model: {type(error).__name__} {error}. Restore it from "
      "its source."
    ) from error


def check_close(path: pathlib.Path, where: str, value: Any, expected: Any) -> None:
  """Raises InputError unless numbers in a config are those of the towers here."""
  if np.shape(value) != np.shape(expected) or not np.allclose(value, expected, rtol=1e-4, atol=0):
    raise InputError(f"{path}: {where} is {value!r}; only {expected!r} is supported.")
