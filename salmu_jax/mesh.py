"""The device mesh and the two shardings in use: whole copies and rows over the batch axis."""

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from salmu_jax.errors import InputError


def make_mesh(devices=None):
  """One `data` axis over all devices (or the given ones); sharding is left to the compiler."""
  devices = jax.devices() if devices is None else devices
  return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh):
  """A whole copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh):
  """The leading axis split over the devices."""
  return NamedSharding(mesh, PartitionSpec("data"))


def check_batch(mesh, field, batch_size):
  """Raises InputError unless `batch_size`, the value of config `field`, divides over the mesh."""
  if batch_size < 1 or batch_size % mesh.size:
    nearest = max(batch_size // mesh.size, 1) * mesh.size
    raise InputError(
      f"config.{field} = {batch_size} does not divide over the mesh of {mesh.size} devices: every "
      f"device must get the same number of rows. The nearest value that does is {nearest}."
    )


def put_batch(batch, mesh):
  """Global arrays from this process's rows: a tree of (B / processes, ...) numpy arrays."""
  rows = over_batch(mesh)
  return jax.tree.map(lambda x: jax.make_array_from_process_local_data(rows, x), batch)
