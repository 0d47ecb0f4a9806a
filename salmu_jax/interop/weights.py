"""Weight files as {tensor name: numpy array}; only PyTorch's restricted reader opens pickles."""

import importlib
import os
import pathlib
from collections.abc import Mapping

import numpy as np
import safetensors.numpy

from salmu_jax.data import hub
from salmu_jax.errors import InputError
from salmu_jax.runtime import files

_PICKLES = (".bin", ".pt", ".pth")
_SHOWN = 3  # files in an error
FINISHED = "finished model folder of this project (it has done.json and params/)"
INDEX = ".safetensors.index.json"  # suffix of the index of sharded weights


def file_of(source: str | os.PathLike, field: str) -> pathlib.Path:
  """`source` itself if it is a file, or the first of hub.WEIGHTS in that folder.

  Args:
    source: a file or a folder.
    field: its name in errors.

  Raises:
    InputError: there is none.
  """
  source = pathlib.Path(source)
  if source.is_file():
    return source
  indices = [name + ".index.json" for name in hub.WEIGHTS if name.endswith(".safetensors")]
  safe = [name for name in hub.WEIGHTS if name.endswith(".safetensors")]
  for name in (*safe, *indices, *hub.WEIGHTS):
    if (source / name).is_file():
      return source / name
  others = sorted(path.name for path in source.glob("*.safetensors"))[:_SHOWN]
  hint = f" It holds {', '.join(others)}: name the file to use." if others else ""
  raise InputError(
    f"{field}: {source} is neither a file of weights, nor a folder with "
    f"{', '.join(hub.WEIGHTS)}, nor a {FINISHED}.{hint}"
  )


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """{name: array} of .safetensors files, or of a PyTorch state dict (.bin, .pt, .pth).

  Args:
    path: the file, or the index of sharded weights. `torch.load(weights_only=True)` reads state
      dicts, if torch is installed.

  Raises:
    InputError: the file is missing, damaged, of another kind, or a pickle of more than tensors.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(f"{path} is missing; it must be a file of weights.")
  if path.name.endswith(INDEX):
    return _read_several(path)
  if path.suffix == ".safetensors":
    return _read_safetensors(path)
  if path.suffix in _PICKLES:
    return _read_pickle(path)
  raise InputError(
    f"{path} is not a file of weights: its name must end in .safetensors, {', '.join(_PICKLES)}."
  )


def sha256(path: pathlib.Path) -> str:
  """A digest of the content of a file of weights, or of all files of an index.

  Raises:
    InputError: see `read_tensors`.
  """
  if not path.name.endswith(INDEX):
    return files.sha256(path)
  names = sorted(set(_index(path).values()))
  return files.digest({name: files.sha256(path.with_name(name)) for name in (path.name, *names)})


def _index(path):
  """{tensor: name of its file} of an index; checks that all files exist."""
  table = files.read_object(path, weight_map=dict)["weight_map"]
  for tensor, name in table.items():
    plain = isinstance(name, str) and pathlib.PurePath(name).name == name
    if not plain or not name.endswith(".safetensors"):
      raise InputError(
        f"{path} has {name!r:.60} as the file of {tensor}; it must be the name of a .safetensors "
        "file beside it."
      )
    if not path.with_name(name).is_file():
      raise InputError(f"{path} lists {name}, which is not beside it. Download or export it again.")
  return table


def _read_several(path):
  table, tensors = _index(path), {}
  for name in sorted(set(table.values())):
    for tensor, value in _read_safetensors(path.with_name(name)).items():
      if table.get(tensor) != name:
        raise InputError(
          f"{path.with_name(name)} holds {tensor}, which {path} does not list there."
        )
      tensors[tensor] = value
  missing = [tensor for tensor in table if tensor not in tensors]
  if missing:
    raise InputError(f"{path} lists {missing[0]} in {table[missing[0]]}, which does not hold it.")
  return tensors


def write_tensors(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
  """Writes {name: float32 array} as .safetensors, atomically, with PyTorch's format tag."""
  with files.replacing(path) as temporary:
    try:
      safetensors.numpy.save_file(tensors, temporary, metadata={"format": "pt"})
    except safetensors.SafetensorError as error:  # This is how safetensors reports a full disk.
      raise OSError(str(error)) from error


def _read_safetensors(path):
  try:
    return safetensors.numpy.load_file(path)
  except (AttributeError, safetensors.SafetensorError) as error:
    # A dtype that numpy lacks, or that safetensors does not convert to numpy's.
    if isinstance(error, safetensors.SafetensorError) and "Dtype" not in str(error):
      raise _damaged(path, error) from error
    raise InputError(
      f"{path} holds numbers of another type than float16, bfloat16 or float32 ({error}). Convert "
      "it to one of these."
    ) from error
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise _damaged(path, error) from error


def _damaged(path, error):
  return InputError(
    f"{path} is truncated, damaged or not a safetensors file ({error}). Download or export it "
    "again."
  )


def _read_pickle(path):
  try:
    torch = importlib.import_module("torch")
  except ImportError as error:
    raise InputError(
      f"{path} is a pickle, which is read only with PyTorch's restricted reader, but torch is not "
      "installed here. Install it (pip install -r requirements-torch.txt), or run `python -m "
      f"salmu_jax.interop.convert {path} DIR` once where it is installed, and give DIR here."
    ) from error
  try:
    content = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # A damaged pickle can raise anything.
    # PyTorch's message is left out: it recommends unpickling without restrictions.
    raise InputError(
      f"{path} is damaged, or holds more than tensors, which is not executed "
      f"({type(error).__name__}). Give a plain state dict, or better a .safetensors file."
    ) from error
  state = content.get("state_dict", content) if isinstance(content, dict) else content
  if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
    raise InputError(f"{path} does not hold a state dict, which maps names to tensors.")
  for name, tensor in state.items():
    if tensor.is_complex() or tensor.layout is not torch.strided:
      raise InputError(
        f"{path}: {name} is complex or sparse ({tensor.dtype}, {tensor.layout}); weights must be "
        "real and dense."
      )
  # Integers and half precision become float32 too, because numpy has no bfloat16.
  return {name: tensor.detach().float().numpy() for name, tensor in state.items()}
