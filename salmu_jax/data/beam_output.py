"""The output folder of Beam, uploaded to a bucket when complete, and the checks of its options."""

import contextlib
import difflib
import io
import pathlib
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners import create_runner

from salmu_jax.errors import InputError
from salmu_jax.runtime import copies, places
from salmu_jax.runtime.places import Place

_HERE = ("DirectRunner", "PrismRunner", "FnApiRunner", "SwitchingDirectRunner")

# Their job servers take further options, which are unknown here.
_TAKE_MORE = ("FlinkRunner", "SparkRunner", "PortableRunner")


def folder(path: Place, options: Sequence[str]) -> pathlib.Path:
  """The folder on the disk that Beam writes to.

  Args:
    path: of the output, on a disk or in a bucket.
    options: for Beam.

  Raises:
    InputError: Beam does not take an option; or `path` is in a bucket, and the runner has workers
      on other machines.
  """
  runner = _checked_runner(options)
  if not places.is_remote(path):
    return pathlib.Path(path)
  if runner.rpartition(".")[2] not in _HERE:
    raise InputError(
      f"--output={path}: all workers of {runner} must see the output folder. Name one on a shared "
      "disk or a mounted bucket, or leave --runner out to write from this machine."
    )
  return copies.place_of(path, places.cache())


def _checked_runner(options):
  """The name of the runner; raises InputError for an option that Beam refuses or ignores."""
  for before, option in zip(["", *options], options, strict=False):
    if not option.startswith("--") and (not before.startswith("--") or "=" in before):
      raise InputError(f"--beam={option} is not a Beam option; write --beam=--NAME=VALUE.")
  given, stderr = PipelineOptions(list(options)), io.StringIO()
  try:
    with contextlib.redirect_stderr(stderr):
      accepted = given.get_all_options()
      everything = given.get_all_options(retain_unknown_options=True)
  except SystemExit as error:  # of argparse, after its usage
    reason = stderr.getvalue().strip().rpartition("error: ")[2]
    raise InputError(f"--beam: Beam reports {reason}.") from error
  runner = given.view_as(StandardOptions).runner or _HERE[0]
  try:
    create_runner(runner)
  except (ValueError, ImportError, AttributeError) as error:
    raise InputError(f"--beam=--runner={runner}: {places.reason(error)}.") from error
  unknown = sorted(everything.keys() - accepted.keys())
  if unknown and runner.rpartition(".")[2] not in _TAKE_MORE:
    nearest = difflib.get_close_matches(unknown[0], accepted, n=1)
    hint = f" Did you mean --{nearest[0]}?" if nearest else ""
    raise InputError(f"--beam=--{unknown[0]}: Beam has no such option.{hint or ' Leave it out.'}")
  return runner


def send(path: Place) -> None:
  """Uploads the output to the bucket, if `path` is in one."""
  if places.is_remote(path):
    copies.publish(path, places.cache(), "the output")
