"""The device mesh, and how arrays lie on it: whole copies, rows over the devices, parameters by
rules.

There is one axis, `data`, over all devices. Batches are split along it; parameters are whole
copies, or split along it too (fully sharded data parallelism), as an ordered list of rules says.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from salmu_jax.errors import InputError

AXIS = "data"
# (regex, axes): a parameter whose path the regex finds first has its last dimensions split over
# these axes, None for one that is not.
Rules = Sequence[tuple[str, Sequence[str | None]]]
REPLICATED: Rules = ((".*", ()),)


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """One `data` axis over all devices (or the given ones); sharding is left to the compiler."""
  devices = jax.devices() if devices is None else devices
  return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
  """A whole copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
  """The leading axis split over the devices."""
  return NamedSharding(mesh, PartitionSpec(AXIS))


def parameter_layout(params: Any, mesh: Mesh, rules: Rules = REPLICATED) -> Any:
  """A tree of NamedSharding like `params`.

  Args:
    params: a tree of arrays or shapes.
    rules: ordered (regex, axes), see REPLICATED and salmu_jax.models.leaves.FSDP; each parameter
      goes by the first that its path matches.

  Raises:
    InputError: a parameter that no rule matches, or whose size does not divide; a rule that no
      parameter goes by, with an unknown axis, or of more dimensions than its parameter.
  """
  _check_rules(rules)
  used = set()

  def place(path, leaf):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    number = next((k for k, (regex, _) in enumerate(rules) if re.search(regex, name)), None)
    if number is None:
      raise InputError(
        f"config.sharding has no rule for the parameter {name} {leaf.shape}. Add one, such as "
        "('.*', ()) at its end for whole copies of the rest."
      )
    used.add(number)
    return _split_last(name, leaf.shape, rules[number][1], mesh)

  layout = jax.tree_util.tree_map_with_path(place, params)
  idle = [rules[number] for number in range(len(rules)) if number not in used]
  if idle:
    raise InputError(
      f"config.sharding: no parameter goes by the rule {idle[0]!r}; those that it might match, if "
      "any, go by an earlier one. Mend its regex, or leave it out."
    )
  return layout


def _check_rules(rules):
  for regex, axes in rules:
    for axis in axes:
      if axis not in (None, AXIS):
        raise InputError(
          f"config.sharding: the rule {(regex, axes)!r} names the axis {axis!r}; the mesh has "
          f"{AXIS!r} alone."
        )
    try:
      re.compile(regex)
    except re.error as error:
      raise InputError(
        f"config.sharding: {regex!r} is not a regular expression: {error}."
      ) from error


def _split_last(name, shape, axes, mesh):
  if len(axes) > len(shape):
    raise InputError(
      f"config.sharding splits the last {len(axes)} dimensions of {name}, which is {shape}. Name "
      "fewer axes in its rule."
    )
  for size, axis in zip(shape[len(shape) - len(axes) :], axes, strict=True):
    if axis and size % mesh.size:
      raise InputError(
        f"config.sharding splits {size} of {name} {shape} over {mesh.size} devices, which does not "
        f"divide. Give that parameter a rule of its own before, such as ({name + '$'!r}, ())."
      )
  if not any(axes):
    return replicated(mesh)
  spec = (None,) * (len(shape) - len(axes)) + tuple(axes)
  return NamedSharding(mesh, PartitionSpec(*spec))


def state_layout(state: Any, params_layout: Any, mesh: Mesh) -> Any:
  """A tree of NamedSharding for a training state: what is kept per parameter lies as it does.

  Args:
    state: a tree of arrays or shapes. A leaf whose path ends in that of a parameter, and that has
      its last dimensions, is kept per parameter.
    params_layout: from `parameter_layout`.
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(params_layout)
  placed = {tuple(path): sharding for path, sharding in leaves}

  def place(path, leaf):
    tails = (tuple(path[at:]) for at in range(len(path)))
    sharding = next((placed[tail] for tail in tails if tail in placed), None)
    return _trailing(sharding, leaf.shape, mesh) if sharding else replicated(mesh)

  return jax.tree_util.tree_map_with_path(place, state)


def _trailing(sharding, shape, mesh):
  """The sharding of an array of `shape` whose last dimensions are a parameter's; whole where
  they are not.
  """
  spec = tuple(sharding.spec)
  if len(shape) < len(spec):
    return replicated(mesh)
  split = (None,) * (len(shape) - len(spec)) + spec
  fits = all(size % mesh.size == 0 for size, axis in zip(shape, split, strict=True) if axis)
  return NamedSharding(mesh, PartitionSpec(*split)) if fits else replicated(mesh)


def check_rules(rules: Iterable[Any]) -> None:
  """Raises InputError unless `config.sharding` is a sequence of rules (regex, axes)."""
  for rule in rules:
    if not (
      isinstance(rule, (tuple, list))
      and len(rule) == 2
      and isinstance(rule[0], str)
      and isinstance(rule[1], (tuple, list))
    ):
      raise InputError(
        f"config.sharding holds {rule!r}; a rule is (regex, axes), such as ('kernel$', ('data',))."
      )


def check_batch(mesh: Mesh, field: str, batch_size: int, accumulate: int = 1) -> None:
  """Raises InputError unless a batch divides over the mesh, in each of `accumulate` parts.

  Args:
    field: of the config, whose value is `batch_size`.
  """
  unit = mesh.size * accumulate
  if batch_size < 1 or batch_size % unit:
    nearest = max(batch_size // unit, 1) * unit
    parts = f", in each of config.accumulate = {accumulate} parts" if accumulate > 1 else ""
    raise InputError(
      f"config.{field} = {batch_size} does not divide over the mesh of {mesh.size} devices{parts}: "
      f"every device must get the same number of rows. The nearest value that does is {nearest}."
    )


def put_batch(batch: Any, mesh: Mesh) -> Any:
  """Global arrays from this process's rows: a tree of (B / processes, ...) numpy arrays."""
  rows = over_batch(mesh)
  return jax.tree.map(lambda x: jax.make_array_from_process_local_data(rows, x), batch)


def put_known(array: np.ndarray, mesh: Mesh) -> jax.Array:
  """A global array from a batch (B, ...) that every process has whole."""
  return jax.make_array_from_callback(array.shape, over_batch(mesh), lambda index: array[index])
