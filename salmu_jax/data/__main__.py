"""python -m salmu_jax.data 'TARS/*.tar' --output=DIR writes image-text pairs as ArrayRecord."""

import argparse
import sys
from collections.abc import Sequence

from salmu_jax.errors import InputError
from salmu_jax.runtime import pipes, progress


def main(argv: Sequence[str] | None = None) -> None:
  """Converts the pairs with Apache Beam, and prints how many were kept and skipped."""
  parser = argparse.ArgumentParser(
    prog="python -m salmu_jax.data",
    allow_abbrev=False,
    description="Writes image-text pairs as ArrayRecord, for config.retain_pairs. Needs "
    "requirements-beam.txt.",
  )
  parser.add_argument("files", nargs="+", help=".tar (webdataset) or .parquet files, or globs")
  parser.add_argument("--output", required=True, help="the folder to write")
  parser.add_argument(
    "--image_size", type=int, default=256, help="maximum shorter side of an image, pixels; 0: any"
  )
  parser.add_argument(
    "--max_skipped", type=float, default=0.01, help="maximum share of unreadable rows"
  )
  parser.add_argument(
    "--allow_broken",
    action="store_true",
    help="read truncated or damaged files up to the damage, instead of refusing them",
  )
  parser.add_argument("--shard_mib", type=int, default=256, help="maximum size of a file, MiB")
  parser.add_argument(
    "--beam", action="append", default=[], help="an option for Beam: --beam=--runner=FlinkRunner"
  )
  args = parser.parse_args(argv)
  from salmu_jax.data import pairs

  counts = pairs.convert(
    args.files,
    args.output,
    image_size=args.image_size,
    max_skipped=args.max_skipped,
    allow_broken=args.allow_broken,
    shard_mib=args.shard_mib,
    options=args.beam,
  )
  console = progress.terminal()
  console.print(f"{counts['kept']:,} pairs in {args.output}", markup=False)
  for reason, rows in sorted(counts["skipped"].items()):
    console.print(f"{rows:,} skipped {reason}")
  for file in counts["broken"]:
    console.print(f"truncated or damaged: {file}", markup=False)


if __name__ == "__main__":
  with pipes.ending_quietly():
    try:
      main()
    except InputError as error:
      sys.exit(f"\nsalmu_jax cannot go on. {error}")
    except ModuleNotFoundError as error:
      sys.exit(f"\n{error}. pip install -r requirements-beam.txt first.")
