"""Weight files as {tensor name: numpy array}. Nothing is unpickled, but by PyTorch's restricted
reader.
"""

import importlib
import pathlib

import safetensors.numpy

from salmu_jax.errors import InputError
from salmu_jax.runtime import files

_PICKLES = (".bin", ".pt", ".pth")


def read_tensors(path):
  """The tensors of a .safetensors file, or of a PyTorch state dict (.bin, .pt, .pth).

  Args:
    path: the file. PyTorch's go through `torch.load(weights_only=True)`, where torch is installed.

  Raises:
    InputError: no such file, damaged, of another kind, or a pickle of more than tensors.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"{path} is missing; a file of weights has to be there.")
  if path.suffix == ".safetensors":
    return _read_safetensors(path)
  if path.suffix in _PICKLES:
    return _read_pickle(path)
  raise InputError(
    f"{path} is no file of weights: its name ends in none of .safetensors, {', '.join(_PICKLES)}."
  )


def write_tensors(path, tensors):
  """Writes {name: float32 array} as .safetensors, atomically, marked as PyTorch's libraries
  expect.
  """
  with files.replacing(path) as temporary:
    try:
      safetensors.numpy.save_file(tensors, temporary, metadata={"format": "pt"})
    except safetensors.SafetensorError as error:  # How that library says that the disk is full.
      raise OSError(str(error)) from error


def _read_safetensors(path):
  try:
    return safetensors.numpy.load_file(path)
  except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
    raise InputError(
      f"{path} is truncated, damaged or not a safetensors file ({error}). Download or export it "
      "again."
    ) from error


def _read_pickle(path):
  try:
    torch = importlib.import_module("torch")
  except ImportError as error:
    raise InputError(
      f"{path} is a PyTorch file, a pickle, which is read by PyTorch's restricted reader only, and "
      "torch is not installed here. Install it (pip install -r requirements-torch.txt), or convert "
      f"once where it is installed: `python -m salmu_jax.interop.convert {path} DIR`, and give DIR "
      "here."
    ) from error
  try:
    found = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # A damaged pickle can raise anything; here nothing else happens.
    # PyTorch's own words advise to unpickle without restriction.
    raise InputError(
      f"{path} is damaged, or holds more than tensors, which is not executed "
      f"({type(error).__name__}). Give a plain state dict, or better a .safetensors file."
    ) from error
  found = found.get("state_dict", found) if isinstance(found, dict) else found
  if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
    raise InputError(f"{path} holds no state dict, that is names with a tensor each.")
  for name, value in found.items():
    if value.is_complex() or value.layout is not torch.strided:
      raise InputError(
        f"{path}: {name} is complex or sparse ({value.dtype}, {value.layout}); weights are real "
        "numbers, stored whole."
      )
  # Whole numbers and halves become float32 too: numpy has no bfloat16 to take from torch.
  return {name: value.detach().float().numpy() for name, value in found.items()}
