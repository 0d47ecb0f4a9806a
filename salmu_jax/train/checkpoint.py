"""Orbax checkpoints of the training state and the input position, and their use as weights."""

import hashlib
import pathlib

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp

from salmu_jax.errors import InputError
from salmu_jax.models import clip
from salmu_jax.runtime import hosts


class Checkpoints:
  """Saves and restores a run's state, input position and unlogged metrics; the last two steps are
  kept.

  All processes of a run take part.
  """

  def __init__(self, folder):
    self._manager = ocp.CheckpointManager(
      pathlib.Path(folder).absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2)
    )

  def save(self, step, state, iterator, metrics=()):
    """Starts an asynchronous save; all parts become visible together or not at all.

    Args:
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

  def restore(self, state, iterator):
    """Returns the newest (state, iterator, metrics), or those given and [] where nothing is saved
    yet.

    Arrays come back with the shardings of `state`.
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

  def wait(self):
    """Returns when everything that was saved is on disk."""
    self._manager.wait_until_finished()

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    """Waits, then releases the folder; a save that needs a process that is gone would not end."""
    if not hosts.means_lost_process(error):
      self._manager.close()


def _same_processes(folder):
  """Raises InputError for a checkpoint of another number of processes, each of which keeps its
  place.
  """
  found = {path.name.rpartition("-of-")[2] for path in folder.glob("rows/process_*-of-*")}
  counts = {int(name.partition(".")[0]) for name in found}
  if counts and counts != {jax.process_count()}:
    raise InputError(
      f"The checkpoint {folder} is of {counts.pop()} process(es), and there are "
      f"{jax.process_count()}. It goes on with any number of devices, but of as many processes; or "
      "delete the folder above it to start anew."
    )


def any_in(folder):
  """Whether a folder of `Checkpoints` holds a finished one."""
  return any(path.name.isdigit() for path in pathlib.Path(folder).glob("*"))


def save_params(folder, params):
  """Writes parameters alone, as the weights that a finished run hands on; all processes take
  part.
  """
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(pathlib.Path(folder).absolute(), params, force=True)


def save_params_alone(folder, params):
  """As `save_params`, of numpy arrays, by this process without the others."""
  here = jax.process_index()
  options = ocp.options.MultiprocessingOptions(
    primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"alone_{here}"
  )
  with ocp.StandardCheckpointer(multiprocessing_options=options) as checkpointer:
    checkpointer.save(pathlib.Path(folder).absolute(), params, force=True)


def load_params(folder, like):
  """Reads parameters written by `save_params`.

  Args:
    folder: what `save_params` wrote.
    like: a tree of arrays or ShapeDtypeStructs with the shapes and shardings to come back with.

  Raises:
    InputError: nothing there, or weights of another architecture; the differences are listed.
  """
  folder = pathlib.Path(folder).absolute()
  if not folder.is_dir():
    raise InputError(f"No weights at {folder}: the folder does not exist.")
  with ocp.StandardCheckpointer() as checkpointer:
    found = _shapes(checkpointer.metadata(folder).item_metadata.tree)
    _same_shapes(folder, found, _shapes(like))
    return checkpointer.restore(folder, jax.tree.map(ocp.utils.to_shape_dtype_struct, like))


def digest(params):
  """Hex SHA-256 of parameters: names, shapes, types and bits, whatever they are stored in.

  Scanned and unrolled parameters of the same weights have the same digest.
  """
  total = hashlib.sha256()
  for path, leaf in sorted(_leaves(clip.unstack_layers(params)).items()):
    leaf = np.asarray(leaf, order="C")
    total.update(f"{path} {leaf.shape} {leaf.dtype}\n".encode())
    total.update(leaf.tobytes())
  return total.hexdigest()


def _leaves(tree):
  leaves, _ = jax.tree_util.tree_flatten_with_path(hosts.on_host(tree))
  return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _shapes(tree):
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves
  }


def _same_shapes(folder, found, expected):
  lines = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
  lines += [f"{name} is not in this model" for name in sorted(found.keys() - expected.keys())]
  lines += [
    f"{name} is {tuple(found[name])}, this model has {tuple(expected[name])}"
    for name in sorted(expected.keys() & found.keys())
    if tuple(found[name]) != tuple(expected[name])
  ]
  if lines:
    more = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
    raise InputError(
      f"The weights at {folder} are of another architecture: {'; '.join(lines[:5])}{more}. Give "
      "weights of the preset that config.model names, or change the preset."
    )
