"""`python -m salmu_jax.report RESULTS_DIR OUT_DIR`: table, leaderboard, diagnosis and plots."""

import argparse
import sys

from rich.console import Console

from salmu_jax.errors import InputError
from salmu_jax.evaluate.diagnosis import THRESHOLDS
from salmu_jax.report import report


def main(argv=None):
  """Runs the report; returns the exit code."""
  parser = argparse.ArgumentParser(prog="python -m salmu_jax.report", description=__doc__)
  parser.add_argument("results_dir", help="folder with one results JSON a model")
  parser.add_argument("out_dir", help="folder for leaderboard.*, diagnosis.* and the plots")
  for name, value in THRESHOLDS.items():
    flag = f"--{name.replace('_', '-')}"
    parser.add_argument(flag, type=float, default=value, help=f"of the verdicts; default {value}")
  args = parser.parse_args(argv)
  thresholds = {name: getattr(args, name) for name in THRESHOLDS}
  try:
    console = Console(width=None if sys.stdout.isatty() else 120)
    paths = report.report(args.results_dir, args.out_dir, console, thresholds)
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  print("\n".join(map(str, paths)))
  return 0


if __name__ == "__main__":
  sys.exit(main())
