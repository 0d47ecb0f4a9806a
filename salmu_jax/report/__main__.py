"""`python -m salmu_jax.report RESULTS_DIR OUT_DIR`: table, leaderboard files and plots."""

import argparse
import sys

from rich.console import Console

from salmu_jax.errors import InputError
from salmu_jax.report import leaderboard


def main(argv=None):
  """Runs the report; returns the exit code."""
  parser = argparse.ArgumentParser(prog="python -m salmu_jax.report", description=__doc__)
  parser.add_argument("results_dir", help="folder with one results JSON a model")
  parser.add_argument("out_dir", help="folder for leaderboard.{md,csv,json} and the plots")
  args = parser.parse_args(argv)
  try:
    console = Console(width=None if sys.stdout.isatty() else 120)
    paths = leaderboard.report(args.results_dir, args.out_dir, console)
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  print("\n".join(map(str, paths)))
  return 0


if __name__ == "__main__":
  sys.exit(main())
