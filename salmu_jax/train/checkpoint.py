"""Orbax checkpoints of the training state and the input position, and weights on disk."""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import grain
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from etils import epath

from salmu_jax.errors import InputError
from salmu_jax.models import clip
from salmu_jax.runtime import checksums, files, hosts, places, progress, workdir
from salmu_jax.train.state import TrainState

Path = str | os.PathLike
_ITEMS = ("state", "rows", "metrics")
# The checksums of a folder that Orbax wrote to a disk, because Orbax has none. Folders of earlier
# versions lack this file.
_CHECKSUMS = "sha256.json"


class Checkpoints:
  """Saves and restores the state, input position and unlogged metrics of a run.

  The last two checkpoints are kept. All processes of a run take part. A damaged checkpoint is
  removed, and the one before takes its place.

  Args:
    folder: of the checkpoints.

  Raises:
    InputError: `folder` is a file.
  """

  def __init__(self, folder: Path):
    folder = places.folder(folder)
    _remove_damaged(folder)
    finalizing = ocp.AsyncOptions(post_finalization_callback=lambda: _finish(folder))
    self._manager = ocp.CheckpointManager(
      folder, options=ocp.CheckpointManagerOptions(max_to_keep=2, async_options=finalizing)
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

    Raises:
      InputError: the checkpoint is of another model or optimizer, of another number of processes,
        or damaged in a way that its checksums miss.
    """
    step = self._manager.latest_step()
    if step is None:
      return state, iterator, []
    folder = self._manager.directory / str(step)
    _same_processes(folder)
    advice = (
      "Delete it to resume from the one before, or from the start if there is none. If it is of "
      "another optimizer, choose another --workdir."
    )
    with _reading(f"The checkpoint {folder}", advice):
      saved = _saved_shapes(folder / "state")
    what = f"The checkpoint {folder} is of another model or optimizer"
    restart = f"Choose another --workdir, or delete {folder.parent} to restart this stage."
    _same_shapes(what, saved, _shapes(state), restart)
    with _reading(f"The checkpoint {folder}", advice):
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
    """Waits for saves, unless another process is lost: without it they would never end."""
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
      f"The checkpoint {folder} was written by {counts.pop()} process(es), but this run has "
      f"{jax.process_count()}. Start as many processes as wrote it (the number of devices may "
      "differ), or delete the folder above it to restart."
    )


def any_in(folder: Path) -> bool:
  """Whether a folder of `Checkpoints` holds a whole checkpoint; damaged ones are removed."""
  folder = places.place(folder)
  _remove_damaged(folder)
  return bool(_numbered(folder))


def _numbered(folder):
  """Everything named like a checkpoint, newest first."""
  return sorted(
    (path for path in folder.glob("*") if path.name.isdecimal()),
    key=lambda path: int(path.name),
    reverse=True,
  )


def _write_checksums(folder, parts=("",)):
  """Adds checksums of parts of a folder to it; a bucket has its own."""
  if not places.is_remote(folder):
    table = {
      f"{part}{name}": digest
      for part in parts
      for name, digest in checksums.of_folder(folder / part).items()
      if name != _CHECKSUMS
    }
    files.write_json(folder / _CHECKSUMS, table)


def _finish(folder):
  """Adds checksums of the items to the checkpoint that Orbax is about to commit.

  Orbax may still be writing other files beside the items.
  """
  if hosts.is_first() and not places.is_remote(folder):
    for unfinished in folder.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
      _write_checksums(unfinished, [f"{item}/" for item in _ITEMS])


def _remove_damaged(folder):
  """Removes damaged checkpoints that are newer than the newest whole one, and reports each."""
  hosts.first_alone(lambda: _remove_damaged_here(folder))


def _remove_damaged_here(folder):
  if places.is_remote(folder):
    return
  if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
    raise InputError(f"{folder} is not a folder, but checkpoints go there. Move it away.")
  for path in _numbered(folder):
    fault = _fault(path, _ITEMS)
    if not fault:
      return
    workdir.remove(path)
    before = _numbered(folder)
    then = f"trying checkpoint {before[0].name}" if before else "restarting the stage"
    progress.console.print(
      f"{path} was damaged ({fault}) and has been removed; {then}.",
      style="yellow",
      markup=False,
      soft_wrap=True,
    )


def _fault(path: pathlib.Path, items=()) -> str:
  """The fault of a folder that Orbax wrote; "" if its checksums show none."""
  missing = [name for name in items if not (path / name).is_dir()]
  if missing:
    return f"{missing[0]} is missing"
  if places.is_remote(path) or not (path / _CHECKSUMS).exists():
    return ""
  try:
    return checksums.fault(path, checksums.read(path / _CHECKSUMS))
  except InputError as error:
    return str(error).rstrip(".")


@contextlib.contextmanager
def _reading(what, advice):
  """Turns Orbax's errors about damaged files into an InputError."""
  try:
    yield
  except Exception as error:  # Each of Orbax's readers raises errors of its own.
    if hosts.means_lost_process(error):
      raise
    raise InputError(f"{what} cannot be read ({places.reason(error)}). {advice}") from error


def save_params(folder: Path, params: optax.Params) -> None:
  """Writes parameters alone, as the weights of a finished run; all processes take part."""
  folder = places.folder(folder)
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(folder, params, force=True)
  if hosts.is_first():
    _write_checksums(folder)


def save_params_alone(folder: Path, params: optax.Params) -> None:
  """As `save_params`, for numpy arrays, by this process without the others."""
  here = jax.process_index()
  options = ocp.options.MultiprocessingOptions(
    primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"alone_{here}"
  )
  with ocp.StandardCheckpointer(multiprocessing_options=options) as checkpointer:
    checkpointer.save(places.folder(folder), params, force=True)
  _write_checksums(places.folder(folder))


def saved_names(folder: Path) -> set[str]:
  """The names of the parameters that `save_params` wrote, "/" between keys.

  Raises:
    InputError: see `load_params`.
  """
  return set(_saved_params(places.folder(folder)))


def load_params(folder: Path, like: optax.Params, sha256: str = "") -> optax.Params:
  """Reads parameters written by `save_params`.

  Args:
    folder: that `save_params` wrote.
    like: a tree of arrays or ShapeDtypeStructs with the shapes and shardings to restore.
    sha256: the `digest` that they must have; "" if none was recorded.

  Raises:
    InputError: no folder, damaged weights, or weights of another architecture; the differences are
      listed.
  """
  folder = places.folder(folder)
  saved = _saved_params(folder)
  change = (
    "Give weights of the preset in config.model, or change the preset; "
    "config.model.logit_bias sets whether there is a logit_bias."
  )
  what = f"The weights at {folder} have another architecture"
  _same_shapes(what, saved, _shapes(like), change)
  target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
  advice = _again(folder)
  with _reading(f"The weights at {folder}", advice), ocp.StandardCheckpointer() as checkpointer:
    params = checkpointer.restore(folder, target)
  if sha256 and digest(params) != sha256:
    raise InputError(f"The weights at {folder} differ from those that were written there. {advice}")
  return params


def _saved_params(folder):
  """{name: shape} of the parameters in a folder."""
  if not folder.is_dir():
    raise InputError(f"No weights at {folder}: the folder does not exist. {_again(folder)}")
  fault = _fault(folder)
  if fault:
    raise InputError(f"The weights at {folder} are damaged: {fault}. {_again(folder)}")
  with _reading(f"The weights at {folder}", _again(folder)):
    return _saved_shapes(folder)


def _again(folder):
  return f"To make them again, delete {folder.parent} and rerun the run that made it."


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


def _saved_shapes(folder):
  """{name: shape} of a tree that Orbax wrote."""
  with contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
    return _shapes(handler.metadata(epath.Path(folder)).tree)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves
  }


def _same_shapes(what, saved, expected, advice):
  """Raises InputError unless two {name: shape} are the same."""
  lines = [f"{name} is missing" for name in sorted(expected.keys() - saved.keys())]
  lines += [f"{name} is not in this model" for name in sorted(saved.keys() - expected.keys())]
  lines += [
    f"{name} is {tuple(saved[name])}, this model has {tuple(expected[name])}"
    for name in sorted(expected.keys() & saved.keys())
    if tuple(saved[name]) != tuple(expected[name])
  ]
  if lines:
    more = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
    raise InputError(f"{what}: {'; '.join(lines[:5])}{more}. {advice}")
