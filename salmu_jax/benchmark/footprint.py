"""Checks the memory, disk and steps that a config needs, before anything is computed.

All needs are lower bounds, so no config that would run is refused.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from salmu_jax.benchmark import stages
from salmu_jax.benchmark.job import Job
from salmu_jax.errors import InputError
from salmu_jax.models import clip, presets
from salmu_jax.models.clip import Sizes
from salmu_jax.runtime import files, machine, workdir
from salmu_jax.runtime.places import Place

_MOST_STEPS = 2**31 - 1  # optimizers count in int32
_CHECKPOINTS = 2  # that a stage keeps


def check_memory(config: ConfigDict, folder: Place, mesh: Mesh) -> None:
  """Raises InputError for a batch that the memory of the devices cannot hold.

  Args:
    config: one that has passed `configuration.check`, with a preset.
    folder: the workdir, whose finished models are not trained again.
    mesh: the devices.
  """
  memory, sizes = memory_of(mesh), presets.sizes(config.model.preset)
  parameters = bytes_of(clip.shapes(presets.make_model(config.model, sizes.vocab_size or 1)))
  if parameters > memory:
    raise InputError(
      f"config.model.preset = {config.model.preset!r} has {_gib(parameters)} of parameters, but "
      f"the devices have {_gib(memory)} of memory. Choose a smaller model."
    )
  value = jnp.dtype(config.model.compute_dtype).itemsize
  trained = [name for name in stages.bounds(config) if not config.init[name]]
  if not all((folder / "models" / name / workdir.DONE).exists() for name in trained):
    rows = config.pretrain.batch_size
    kept = sizes.vision.layers * -(-rows // config.accumulate)
    _check_batch("pretrain.batch_size", rows, sizes, kept, value, memory)
  rows = config.evaluate.batch_size
  _check_batch("evaluate.batch_size", rows, sizes, rows, value, memory)


def memory_of(mesh: Mesh) -> int:
  """The total memory of a mesh's devices, in bytes."""
  devices = list(mesh.devices.flat)
  own = next(device for device in devices if device.process_index == jax.process_index())
  of_one = (own.memory_stats() or {}).get("bytes_limit")
  if of_one:
    return of_one * mesh.size
  hosts = len({device.process_index for device in devices})  # CPUs of a host share its memory
  return hosts * machine.memory()


def check_steps(where: str, steps: int) -> None:
  """Raises InputError for more steps than an optimizer counts.

  Args:
    where: the field that sets them. steps: of a stage.
  """
  if steps > _MOST_STEPS:
    raise InputError(
      f"{where} makes {steps:,} steps; optimizers count at most {_MOST_STEPS:,}. Lower it, or use "
      "a larger batch."
    )


def check_disk(job: Job, states: Mapping[str, int], params: int) -> None:
  """Raises InputError where the checkpoints of the remaining stages do not fit on the disk.

  Args:
    job: the job. states: {model: bytes of its training state}. params: bytes of the parameters.
  """
  waiting = [name for name in states if not (job.model_folder(name) / workdir.DONE).exists()]
  if not waiting:
    return
  needed = sum(_CHECKPOINTS * states[name] + params for name in waiting)
  largest = max(states[name] for name in waiting)
  files.require_space(
    job.workdir,
    needed,
    f"{len(waiting)} models ({_CHECKPOINTS} checkpoints of at most {largest / 2**20:.1f} MiB and "
    f"{params / 2**20:.1f} MiB of parameters each)",
  )


def bytes_of(tree: object) -> int:
  """The bytes of a tree of arrays or of their shapes."""
  return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _check_batch(field, rows, sizes: Sizes, kept, value, memory):
  """Raises InputError unless memory holds the images of a batch and the tower's activations.

  Args:
    field: of the config. rows: its value. kept: number of (row, layer) pairs whose inputs are kept.
    value: bytes of a number in the tower. memory: bytes.
  """
  tokens = (sizes.image_size // sizes.patch_size) ** 2 + 1
  pictures = 3 * rows * sizes.image_size**2
  inputs = kept * tokens * sizes.vision.width * value
  if pictures + inputs > memory:
    raise InputError(
      f"config.{field} = {rows:,} needs at least {_gib(pictures + inputs)}: {_gib(pictures)} for "
      f"images of {sizes.image_size} x {sizes.image_size} pixels, and {_gib(inputs)} for the "
      f"activations of the image tower ({tokens} tokens of width {sizes.vision.width} per block). "
      f"The devices have {_gib(memory)}. Choose a smaller batch"
      + (", or raise config.accumulate." if "pretrain" in field else ".")
    )


def _gib(count):
  return f"{count / 2**30:,.1f} GiB"
