"""The device mesh and the sharding of arrays on it: replicated, by rows, or by rules.

The mesh has one axis, `data`, over all devices. Batches are split along it. Parameters are
replicated, or split along it too (fully sharded data parallelism), by an ordered list of rules.
"""

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from salmu_jax.errors import InputError

AXIS = "data"
# (regex, axes): the first rule whose regex is found in a parameter's path splits the last
# dimensions of the parameter over these axes; None leaves a dimension whole.
Rules = Sequence[tuple[str, Sequence[str | None]]]
REPLICATED: Rules = ((".*", ()),)


# Settings of JAX that would change results or the random numbers of a seed, or break our programs.
# They override the environment (JAX_ENABLE_X64 and the like). Settings of compilation and debugging
# are left to the user.
FIXED = {
  "jax_enable_x64": False,
  "jax_default_prng_impl": "threefry2x32",
  "jax_threefry_partitionable": True,
  "jax_random_seed_offset": 0,
  "jax_enable_custom_prng": False,
  "jax_high_dynamic_range_gumbel": False,
  "jax_default_matmul_precision": None,
  "jax_allow_f16_reductions": True,
  "jax_softmax_custom_jvp": False,
  "jax_numpy_dtype_promotion": "standard",
  "jax_explicit_x64_dtypes": "warn",
  "jax_legacy_prng_key": "allow",
  "jax_default_device": None,
  "jax_transfer_guard": "allow",  # and those of each direction
}


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """One `data` axis over all devices (or the given ones); sharding is left to the compiler.

  Every program makes a mesh first, so this also applies FIXED.
  """
  for name, value in FIXED.items():
    if name in jax.config.values:  # JAX versions add and drop some
      jax.config.update(name, value)
  used = devices_of_all() if devices is None else devices
  return jax.make_mesh((len(used),), (AXIS,), axis_types=(AxisType.Auto,), devices=used)


def devices_of_all() -> Sequence[jax.Device]:
  """The devices of all processes.

  Raises:
    InputError: JAX finds no device of the platform that it must use.
  """
  try:
    return jax.devices()
  except (RuntimeError, AssertionError) as error:
    wanted = os.environ.get("JAX_PLATFORMS", "")
    reason = str(error) or "its package is not installed, or the machine has no such device"
    raise InputError(
      f"JAX finds no device (JAX_PLATFORMS={wanted}): {reason}. Unset JAX_PLATFORMS, or set it to "
      "cpu, cuda or tpu, whichever this machine has."
    ) from error


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
    mesh: the devices.
    rules: in order, see REPLICATED and salmu_jax.models.leaves.FSDP. The first rule that matches
      the path of a parameter applies.

  Raises:
    InputError: no rule matches a parameter; a rule applies to no parameter, names an unknown axis,
      or has more axes than its parameter has dimensions; or a dimension does not divide over the
      devices.
  """
  check_rules(rules)
  used = set()

  def place(path, leaf):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    number = next((k for k, (regex, _) in enumerate(rules) if re.search(regex, name)), None)
    if number is None:
      raise InputError(
        f"config.sharding has no rule for the parameter {name} {leaf.shape}. Add one, such as "
        "('.*', ()) at the end, which replicates every parameter without a rule of its own."
      )
    used.add(number)
    return _split_last(name, leaf.shape, rules[number][1], mesh)

  layout = jax.tree_util.tree_map_with_path(place, params)
  unused = [rules[number] for number in range(len(rules)) if number not in used]
  if unused:
    raise InputError(
      f"config.sharding: the rule {unused[0]!r} applies to no parameter: its regex matches none, "
      "or only those of earlier rules. Correct the regex, or remove the rule."
    )
  return layout


def check_rules(rules: Iterable[Any]) -> None:
  """Raises InputError unless `config.sharding` is a sequence of (regex, axes) for this mesh."""
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
    regex, axes = rule
    for axis in axes:
      if axis not in (None, AXIS):
        raise InputError(
          f"config.sharding: the rule {(regex, axes)!r} names the axis {axis!r}; the mesh has "
          f"{AXIS!r} only."
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
      "fewer axes in the rule."
    )
  for size, axis in zip(shape[len(shape) - len(axes) :], axes, strict=True):
    if axis and size % mesh.size:
      raise InputError(
        f"config.sharding splits {size} of {name} {shape} over {mesh.size} devices, which does not "
        f"divide. Put a rule for that parameter first, such as ({name + '$'!r}, ())."
      )
  if not any(axes):
    return replicated(mesh)
  spec = (None,) * (len(shape) - len(axes)) + tuple(axes)
  return NamedSharding(mesh, PartitionSpec(*spec))


def state_layout(state: Any, params_layout: Any, mesh: Mesh) -> Any:
  """A tree of NamedSharding for a training state: moments and the like are laid out as parameters.

  Args:
    state: a tree of arrays or shapes. A leaf belongs to a parameter if its path ends in the path of
      the parameter and its last dimensions are those of the parameter; other leaves are replicated.
    params_layout: from `parameter_layout`.
    mesh: the devices.
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(params_layout)
  placed = {tuple(path): sharding for path, sharding in leaves}

  def place(path, leaf):
    tails = (tuple(path[at:]) for at in range(len(path)))
    sharding = next((placed[tail] for tail in tails if tail in placed), None)
    return _trailing(sharding, leaf.shape, mesh) if sharding else replicated(mesh)

  return jax.tree_util.tree_map_with_path(place, state)


def _trailing(sharding, shape, mesh):
  """A parameter's sharding on the last dimensions of `shape`; replicated if it does not fit."""
  spec = tuple(sharding.spec)
  if len(shape) < len(spec):
    return replicated(mesh)
  split = (None,) * (len(shape) - len(spec)) + spec
  fits = all(size % mesh.size == 0 for size, axis in zip(shape, split, strict=True) if axis)
  return NamedSharding(mesh, PartitionSpec(*split)) if fits else replicated(mesh)


def check_batch(mesh: Mesh, field: str, batch_size: int, accumulate: int = 1) -> None:
  """Raises InputError unless a batch divides over the mesh, in each of `accumulate` parts.

  Args:
    mesh: the devices.
    field: the config field of `batch_size`, such as "pretrain.batch_size".
    batch_size: rows of a global batch.
    accumulate: parts whose gradients are accumulated.
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


def put_whole_batch(array: np.ndarray, mesh: Mesh) -> jax.Array:
  """A global array from a batch (B, ...) that every process holds whole."""
  return jax.make_array_from_callback(array.shape, over_batch(mesh), lambda index: array[index])
