"""Makes the report on folders of results; `submit RESULTS.json --to=FOLDER` adds a model to one.

One folder of comparable results gives page, leaderboard, diagnosis, statistics and plots. Several
folders, or a mixed one, give one page and the statistics: results that are not comparable are
grouped separately, and seeds of one experiment are combined.
"""

import argparse
import sys
from collections.abc import Sequence

from salmu_jax.errors import InputError
from salmu_jax.report import submit
from salmu_jax.results.collecting import collect, results_folder
from salmu_jax.results.diagnosis import THRESHOLDS
from salmu_jax.results.shares import SIDES
from salmu_jax.runtime import pipes, places, progress


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the report, or a submission; returns the exit code."""
  argv = sys.argv[1:] if argv is None else argv
  if argv[:1] == ["submit"]:
    return submit.main(argv[1:])
  parser = argparse.ArgumentParser(
    prog="python -m salmu_jax.report",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    "folders", nargs="+", metavar="DIR", help="workdir, or folder with one results JSON per model"
  )
  parser.add_argument("--out", help="folder of the report; default for one workdir: the workdir")
  for name, value in THRESHOLDS.items():
    sides = [side for side in SIDES.values() if side.threshold == name]
    labels = " or ".join(side.label for side in sides)
    about = f"a model with less {labels} is {sides[0].failure}; default: {value}"
    parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, help=about)
  args = parser.parse_args(argv)
  try:
    paths = _report(args, parser)
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  except OSError as error:  # a disk or a bucket without read access
    reason = places.reason(error)
    print(f"error: {', '.join(args.folders)} cannot be read ({reason}).", file=sys.stderr)
    return 1
  print("\n".join(map(str, paths)))
  return 0


def _report(args, parser):
  """Makes the report that the arguments ask for; returns its paths."""
  thresholds = {name: getattr(args, name) for name in THRESHOLDS}
  console = progress.terminal(width=None if sys.stdout.isatty() else 120)
  folders = [places.place(folder, "DIR") for folder in args.folders]
  for folder in folders:
    if not (places.is_remote(folder) or folder.is_dir()):  # buckets are checked on reading
      raise InputError(f"{folder} is not a folder. Name a workdir or its results folder.")
  one = folders[0] if len(folders) == 1 else None
  if args.out is None and not (one and results_folder(one) != one):
    parser.error("--out=DIR is required: the folder of the report")
  out = places.place(args.out, "--out") if args.out is not None else one
  # Imported late: a submission draws nothing.
  from salmu_jax.report import writing

  if one and _compare(one):
    return writing.report_folder(results_folder(one), out, console, thresholds)
  return writing.report_folders(folders, out, console, thresholds)


def _compare(folder):
  """Whether all results of a folder are comparable, so that they form one table."""
  tables, left_out = collect([folder])
  return len(tables) == 1 and not left_out


if __name__ == "__main__":
  with pipes.ending_quietly():
    sys.exit(main())
