"""What a release holds beside the published counts: python -m salmu_jax.data.counts RELEASE"""

import argparse
import sys
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from salmu_jax.data import derived, releases
from salmu_jax.errors import InputError
from salmu_jax.results import published, splits

TOLERANCE = 0.005  # how far rows may be from a count that is published as approximate
WIDTH = 100
STYLES = {"agrees": "green", "differs": "red", "missing": "yellow", "not published": "dim"}


class Comparison(NamedTuple):
  """One set of a release beside what is published about it.

  Attributes:
    set: its name.
    found: (rows, identities) of the release, None where it lacks the set.
    published: (rows, identities), None where the set is not published. Identities may be None, in
      both, where they are not known.
    mark: "known" or "inferred", None where the set is not published.
    agrees: bool, None where there is nothing to compare.
  """

  set: str
  found: tuple[int, int | None] | None
  published: tuple[int, int | None] | None
  mark: str | None
  agrees: bool | None


def compare(counts):
  """Sets counts beside the published ones.

  Args:
    counts: {set: (rows, identities)}; identities are None where they are not known.

  Returns:
    A Comparison for every published set, in the published order, then one for every other set.
  """
  known = {row["set"]: row for row in published.COUNTS}
  out = []
  for name, row in known.items():
    found, right = counts.get(name), (row["rows"], row["identities"])
    agrees = None if found is None else _agrees(found, right, row["approximate"])
    out.append(Comparison(name, found, right, row["mark"], agrees))
  rest = sorted(counts.keys() - known)
  return out + [Comparison(name, counts[name], None, None, None) for name in rest]


def of(release):
  """Counts a release: {set: (rows, identities)}, the derived sets among them.

  Identities are the distinct ones that are not empty; None in a split that is merely carried.

  Args:
    release: an opened release.
  """
  counts = {split: (rows, None) for split, rows in release.counts.items()}
  named = (*splits.judged(), "sensitive")
  tables = {
    split: releases.columns(release, split)["identity_id"]
    for split in named
    if split in release.counts
  }
  counts |= {split: (len(people), _people(people)) for split, people in tables.items()}
  masks = derived.masks(
    release, {split: releases.columns(release, split) for split in splits.judged()}
  )
  for name, (split, mask) in masks.items():
    counts[name] = int(mask.sum()), _people(tables[split][mask])
  return counts


def report(release, console):
  """Prints what a release holds beside the published counts, at most WIDTH columns wide.

  Args:
    release: an opened release.
    console: rich.console.Console.
  """
  table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
  table.add_column("set", overflow="fold")
  for head in ("rows\nhere", "rows\npublished", "identities\nhere", "identities\npublished"):
    table.add_column(head, justify="right")
  table.add_column("")
  approximate = {row["set"] for row in published.COUNTS if row["approximate"]}
  for row in compare(of(release)):
    here, right = row.found or (None, None), row.published or (None, None)
    rows = f"{'~' if row.set in approximate else ''}{_number(right[0])}"
    rows += "*" if row.mark == "inferred" else ""
    cells = (_number(here[0]), rows, _number(here[1]), _number(right[1]))
    word = _word(row)
    table.add_row(Text(row.set), *cells, Text(word, style=STYLES[word]))
  console.print(Text(f"Counts of {release.name}"))
  console.print(table, width=min(console.width, WIDTH))
  note = (
    f"Published: {published.SOURCE['title']}, arXiv {published.SOURCE['arxiv']}. *: inferred from "
    f"released numbers. ~: approximate, agrees within {TOLERANCE:.1%}."
  )
  console.print(Text(note, style="dim"), width=min(console.width, WIDTH))


def main(argv=None):
  """Reports on one release; returns the exit code."""
  parser = argparse.ArgumentParser(prog="python -m salmu_jax.data.counts", description=__doc__)
  parser.add_argument("release", help="directory of a release, or hub:OWNER/NAME[@REVISION]")
  parser.add_argument("--training", default="", help="the same of the training data beside it")
  args = parser.parse_args(argv)
  try:
    release = releases.open_release(args.release, training=args.training)
    report(release, Console(width=None if sys.stdout.isatty() else WIDTH))
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


def _agrees(found, right, approximate):
  (rows, people), (published_rows, published_people) = found, right
  if abs(rows - published_rows) > (TOLERANCE * published_rows if approximate else 0):
    return False
  return people is None or published_people is None or people == published_people


def _people(identities):
  """How many people an array of identity ids, "" for none, names."""
  return len(set(identities) - {""})


def _number(value):
  return "-" if value is None else f"{value:,}"


def _word(row):
  if row.published is None:
    return "not published"
  return {True: "agrees", False: "differs", None: "missing"}[row.agrees]


if __name__ == "__main__":
  sys.exit(main())
