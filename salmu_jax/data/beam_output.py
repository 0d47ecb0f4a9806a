"""Where Beam writes: a folder that its workers see, sent to a bucket when it is whole."""

import pathlib
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from salmu_jax.errors import InputError
from salmu_jax.runtime import copies, places
from salmu_jax.runtime.places import Place

_HERE = ("DirectRunner", "PrismRunner", "FnApiRunner", "SwitchingDirectRunner")


def folder(path: Place, options: Sequence[str]) -> pathlib.Path:
  """The folder on the disk that Beam writes to.

  Args:
    path: of what is made, on a disk or in a bucket.
    options: for Beam.

  Raises:
    InputError: `path` is in a bucket, and the runner has workers on other machines.
  """
  if not places.is_remote(path):
    return pathlib.Path(path)
  runner = PipelineOptions(list(options)).view_as(StandardOptions).runner or _HERE[0]
  if runner.rpartition(".")[2] not in _HERE:
    raise InputError(
      f"--output={path}: the workers of {runner} write to a folder that all of them see. Name one "
      "on a shared disk or a mounted bucket, or leave --runner out to write from this machine."
    )
  return copies.place_of(path, places.cache())


def send(path: Place) -> None:
  """Sends what was made in `folder` to the bucket, if `path` is in one."""
  if places.is_remote(path):
    copies.publish(path, places.cache(), "what was made")
