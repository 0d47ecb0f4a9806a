"""Publishes a workdir, or makes a workdir from what was published.

python -m salmu_jax.interop publish WORKDIR --to=DIR | --to=hub:OWNER/NAME
python -m salmu_jax.interop fetch DIR | hub:OWNER/NAME@COMMIT WORKDIR
"""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from salmu_jax.errors import InputError
from salmu_jax.runtime import pipes, places, progress


def _publish(args: argparse.Namespace, console: Console) -> None:
  # Imported here because they load JAX: --help is quick, and Ctrl-C is handled by now.
  from salmu_jax.data import hub
  from salmu_jax.interop import publish

  parts = publish.plan(places.folder(args.workdir, "WORKDIR"), args.to, args.models)
  table = Table("kind", "where", "size", "already there")
  for part in parts:
    on_hub = hub.is_address(args.to)
    count = publish.replaced(part) if on_hub else None
    already = f"{count} files, replaced" if count else "nothing"
    table.add_row(part.kind, part.target, f"{part.size / 2**20:,.1f} MiB", already)
  console.print(table)
  if not args.yes:
    console.print("Nothing was written. Add --yes to publish this.")
    return
  address = publish.publish(parts, private=args.private)
  console.print(
    f"Published. To fetch it:\npython -m salmu_jax.interop fetch {address} WORKDIR",
    soft_wrap=True,
  )


def _fetch(args: argparse.Namespace, console: Console) -> None:
  from salmu_jax.interop import publish

  folder = places.folder(args.workdir, "WORKDIR")
  publish.fetch(args.source, folder, args.models or publish.BOUNDS)
  console.print(
    f"{args.workdir} has the release and the models. Pass it as --workdir, with the config "
    "that made them.",
    soft_wrap=True,
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; returns the exit code."""
  parser = argparse.ArgumentParser(
    prog="python -m salmu_jax.interop",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  commands = parser.add_subparsers(required=True, metavar="COMMAND")
  sender = commands.add_parser("publish", help="publish to a folder or the Hugging Face hub")
  sender.add_argument("workdir", help="workdir of a finished run that generated its release")
  sender.add_argument("--to", required=True, help="a folder, or hub:OWNER/NAME")
  sender.add_argument("--models", type=_names, default=(), help="NAME,NAME; default: all models")
  sender.add_argument("--private", action="store_true", help="make new hub repositories private")
  sender.add_argument("--yes", action="store_true", help="publish, instead of only listing what")
  sender.set_defaults(run=_publish)
  getter = commands.add_parser("fetch", help="fetch a release and models into a new workdir")
  getter.add_argument("source", help="a folder that was published to, or hub:OWNER/NAME@COMMIT")
  getter.add_argument("workdir", help="workdir to make, on a local disk")
  getter.add_argument(
    "--models", type=_names, default=(), help="NAME,NAME; default: clean,compromised"
  )
  getter.set_defaults(run=_fetch)
  args = parser.parse_args(argv)
  try:
    args.run(args, progress.terminal())
  except (InputError, OSError) as error:  # a full disk
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


def _names(text: str) -> tuple[str, ...]:
  return tuple(name for name in text.split(",") if name)


if __name__ == "__main__":
  with pipes.ending_quietly():
    sys.exit(main())
