"""python -m salmu_jax.data 'TARS/*.tar' --output=DIR: image-text pairs to records, by Apache
Beam.
"""

import argparse
import sys

from rich.console import Console

from salmu_jax.errors import InputError


def main(argv=None):
  """Converts, and says what was kept and skipped."""
  parser = argparse.ArgumentParser(
    prog="python -m salmu_jax.data",
    allow_abbrev=False,
    description="Writes image-text pairs as ArrayRecord, for config.retain_pairs. Needs "
    "requirements-beam.txt.",
  )
  parser.add_argument("files", nargs="+", help=".tar (webdataset) or .parquet files, or globs")
  parser.add_argument("--output", required=True, help="the folder to write")
  parser.add_argument(
    "--image_size", type=int, default=256, help="shorter side of pictures at most, pixels; 0: any"
  )
  parser.add_argument(
    "--max_skipped", type=float, default=0.01, help="share of unreadable rows that is let pass"
  )
  parser.add_argument("--shard_mib", type=int, default=256, help="largest size of a file, MiB")
  parser.add_argument(
    "--beam", action="append", default=[], help="an option for Beam: --beam=--runner=FlinkRunner"
  )
  args = parser.parse_args(argv)
  from salmu_jax.data import pairs

  found = pairs.convert(
    args.files,
    args.output,
    image_size=args.image_size,
    max_skipped=args.max_skipped,
    shard_mib=args.shard_mib,
    options=args.beam,
  )
  console = Console()
  console.print(f"{found['kept']:,} pairs in {args.output}")
  for reason, number in sorted(found["skipped"].items()):
    console.print(f"{number:,} skipped {reason}")


if __name__ == "__main__":
  try:
    main()
  except InputError as error:
    sys.exit(f"\nsalmu_jax cannot go on. {error}")
  except ModuleNotFoundError as error:
    sys.exit(f"\n{error}. pip install -r requirements-beam.txt first.")
