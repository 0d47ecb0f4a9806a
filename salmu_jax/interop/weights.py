"""Weight files as {tensor name: numpy array}; only PyTorch's restricted reader opens pickles."""

import importlib
import os
import pathlib
from collections.abc import Mapping

import numpy as np
import safetensors.numpy

from salmu_jax.errors import InputError
from salmu_jax.runtime import files

_PICKLES = (".bin", ".pt", ".pth")


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """{name: array} of a .safetensors file, or of a PyTorch state dict (.bin, .pt, .pth).

  Args:
    path: the file. `torch.load(weights_only=True)` reads state dicts, if torch is installed.

  Raises:
    InputError: the file is missing, damaged, of another kind, or a pickle of more than tensors.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"{path} is missing; it must be a file of weights.")
  if path.suffix == ".safetensors":
    return _read_safetensors(path)
  if path.suffix in _PICKLES:
    return _read_pickle(path)
  raise InputError(
    f"{path} is no file of weights: its name must end in .safetensors, {', '.join(_PICKLES)}."
  )


def write_tensors(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
  """Writes {name: float32 array} as .safetensors, atomically, with the mark of PyTorch's files."""
  with files.replacing(path) as temporary:
    try:
      safetensors.numpy.save_file(tensors, temporary, metadata={"format": "pt"})
    except safetensors.SafetensorError as error:  # safetensors reports a full disk so.
      raise OSError(str(error)) from error


def _read_safetensors(path):
  try:
    return safetensors.numpy.load_file(path)
  except AttributeError as error:  # of a type that numpy has not
    raise InputError(
      f"{path} holds numbers of another type than float16, bfloat16 or float32 ({error}). Convert "
      "it to one of these."
    ) from error
  except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
    raise InputError(
      f"{path} is truncated, damaged or not a safetensors file ({error}). Download or export it "
      "again."
    ) from error


def _read_pickle(path):
  try:
    torch = importlib.import_module("torch")
  except ImportError as error:
    raise InputError(
      f"{path} is a pickle, which only PyTorch's restricted reader may read, and torch is not "
      "installed here. Install it (pip install -r requirements-torch.txt), or run `python -m "
      f"salmu_jax.interop.convert {path} DIR` once where it is installed, and give DIR here."
    ) from error
  try:
    content = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # A damaged pickle can raise anything.
    # PyTorch's message is left out: it advises to unpickle without restriction.
    raise InputError(
      f"{path} is damaged, or holds more than tensors, which is not executed "
      f"({type(error).__name__}). Give a plain state dict, or better a .safetensors file."
    ) from error
  state = content.get("state_dict", content) if isinstance(content, dict) else content
  if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
    raise InputError(f"{path} holds no state dict, which maps names to tensors.")
  for name, tensor in state.items():
    if tensor.is_complex() or tensor.layout is not torch.strided:
      raise InputError(
        f"{path}: {name} is complex or sparse ({tensor.dtype}, {tensor.layout}); weights must be "
        "real and dense."
      )
  # Integers and half precision become float32 too, because numpy has no bfloat16.
  return {name: tensor.detach().float().numpy() for name, tensor in state.items()}
