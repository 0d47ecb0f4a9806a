"""Orbax checkpoints of the training state and the input position, and weights on disk."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import grain
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp

from salmu_jax.errors import InputError
from salmu_jax.models import clip
from salmu_jax.runtime import hosts, places
from salmu_jax.train.state import TrainState

Path = str | os.PathLike


class Checkpoints:
  """Saves and restores the state, input position and unlogged metrics of a run.

  The last two checkpoints are kept. All processes of a run take part.

  Args:
    folder: of the checkpoints.
  """

  def __init__(self, folder: Path):
    self._manager = ocp.CheckpointManager(
      places.place(folder), options=ocp.CheckpointManagerOptions(max_to_keep=2)
    )

  def save(
    self,
    step: int,
    state: TrainState,
    iterator: Iterator,
    metrics: Sequence[dict[str, float]] = (),
  ) -> None:
    """Starts an asynchronous save; all parts become visible together or not at all.

    Args:
      step: the number of finished steps.
      state: after that step.
      iterator: a checkpointable iterator of host batches.
      metrics: {name: float} of each step since the last log line.
    """
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        rows=grain.checkpoint.CheckpointSave(iterator),
        metrics=ocp.args.JsonSave(list(metrics)),
      ),
    )
    self._manager.check_for_errors()

  def restore(self, state: TrainState, iterator: Iterator) -> tuple[TrainState, Iterator, list]:
    """The newest (state, iterator, metrics); the arguments and [] if nothing is saved yet.

    Arrays are restored with the shardings of `state`.
    """
    step = self._manager.latest_step()
    if step is None:
      return state, iterator, []
    _same_processes(self._manager.directory / str(step))
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, state)),
        rows=grain.checkpoint.CheckpointRestore(iterator),
        metrics=ocp.args.JsonRestore(),
      ),
    )
    return restored.state, restored.rows, restored.metrics

  def wait(self) -> None:
    """Returns when all saves are on disk."""
    self._manager.wait_until_finished()

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    """Waits for saves, unless another process is gone, without which they would never end."""
    if not hosts.means_lost_process(error):
      self._manager.close()


def _same_processes(folder):
  """Raises InputError for a checkpoint of another number of processes.

  Each process keeps an input position of its own.
  """
  suffixes = {path.name.rpartition("-of-")[2] for path in folder.glob("rows/process_*-of-*")}
  counts = {int(suffix.partition(".")[0]) for suffix in suffixes}
  if counts and counts != {jax.process_count()}:
    raise InputError(
      f"The checkpoint {folder} was written by {counts.pop()} process(es), and this run has "
      f"{jax.process_count()}. Start as many processes as wrote it (the number of devices may "
      "differ), or delete the folder above it to start anew."
    )


def any_in(folder: Path) -> bool:
  """Whether a folder of `Checkpoints` holds a finished checkpoint."""
  return any(path.name.isdigit() for path in places.place(folder).glob("*"))


def save_params(folder: Path, params: optax.Params) -> None:
  """Writes parameters alone, as the weights of a finished run; all processes take part."""
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(places.place(folder), params, force=True)


def save_params_alone(folder: Path, params: optax.Params) -> None:
  """As `save_params`, for numpy arrays, by this process without the others."""
  here = jax.process_index()
  options = ocp.options.MultiprocessingOptions(
    primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"alone_{here}"
  )
  with ocp.StandardCheckpointer(multiprocessing_options=options) as checkpointer:
    checkpointer.save(places.place(folder), params, force=True)


def load_params(folder: Path, like: optax.Params) -> optax.Params:
  """Reads parameters written by `save_params`.

  Args:
    folder: that `save_params` wrote.
    like: a tree of arrays or ShapeDtypeStructs with the shapes and shardings to restore.

  Raises:
    InputError: no folder, or weights of another architecture; the differences are listed.
  """
  folder = places.place(folder)
  if not folder.is_dir():
    raise InputError(f"No weights at {folder}: the folder does not exist.")
  with ocp.StandardCheckpointer() as checkpointer:
    saved = _shapes(checkpointer.metadata(folder).item_metadata.tree)
    _same_shapes(folder, saved, _shapes(like))
    return checkpointer.restore(folder, jax.tree.map(ocp.utils.to_shape_dtype_struct, like))


def digest(params: optax.Params, tower: str = "") -> str:
  """Hex SHA-256 of the names, shapes, types and bits of parameters, independent of their storage.

  Scanned and unrolled parameters of the same weights have the same digest.

  Args:
    params: of a model.
    tower: "visual" or "text", for the parameters of that tower alone.
  """
  total = hashlib.sha256()
  for path, leaf in sorted(_leaves(clip.unstack_layers(params)).items()):
    if not path.startswith(tower):
      continue
    leaf = np.asarray(leaf, order="C")
    total.update(f"{path} {leaf.shape} {leaf.dtype}\n".encode())
    total.update(leaf.tobytes())
  return total.hexdigest()


def _leaves(tree: Any) -> dict[str, np.ndarray]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(hosts.on_host(tree))
  return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves
  }


def _same_shapes(folder, saved, expected):
  lines = [f"{name} is missing" for name in sorted(expected.keys() - saved.keys())]
  lines += [f"{name} is not in this model" for name in sorted(saved.keys() - expected.keys())]
  lines += [
    f"{name} is {tuple(saved[name])}, this model has {tuple(expected[name])}"
    for name in sorted(expected.keys() & saved.keys())
    if tuple(saved[name]) != tuple(expected[name])
  ]
  if lines:
    more = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
    raise InputError(
      f"The weights at {folder} are of another architecture: {'; '.join(lines[:5])}{more}. Give "
      "weights of the preset that config.model names, or change the preset."
    )
