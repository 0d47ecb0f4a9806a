"""Compares the rows and people of a release with the published counts.

python -m salmu_jax.data.counts DIR
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from salmu_jax.data import derived, releases
from salmu_jax.data.releases import Release
from salmu_jax.errors import InputError
from salmu_jax.results import published, splits
from salmu_jax.runtime import pipes, progress

# (rows, people); people is None where the number is unknown.
Count = tuple[int, int | None]

TOLERANCE = 0.005  # of a count that is published as approximate, relative
WIDTH = 100
STYLES = {"agrees": "green", "differs": "red", "missing": "yellow", "not published": "dim"}


class Comparison(NamedTuple):
  """One set of a release and its published count.

  Attributes:
    set: its name.
    counted: (rows, people) of the release, None where it lacks the set.
    published: (rows, people), None where the set is not published.
    mark: "known" or "inferred", None where the set is not published.
    agrees: whether both counts agree, None where one of them is missing.
  """

  set: str
  counted: Count | None
  published: Count | None
  mark: str | None
  agrees: bool | None


def compare(counts: Mapping[str, Count]) -> list[Comparison]:
  """Compares counts with the published ones.

  Args:
    counts: {set: (rows, people)}; people is None where the number is unknown.

  Returns:
    A Comparison for every published set, in the published order, then one for every other set.
  """
  published_rows = {row["set"]: row for row in published.COUNTS}
  comparisons = []
  for name, row in published_rows.items():
    counted, expected = counts.get(name), (row["rows"], row["identities"])
    agrees = None if counted is None else _agrees(counted, expected, row["approximate"])
    comparisons.append(Comparison(name, counted, expected, row["mark"], agrees))
  unpublished = sorted(counts.keys() - published_rows)
  return comparisons + [Comparison(name, counts[name], None, None, None) for name in unpublished]


def count(release: Release) -> dict[str, Count]:
  """{set: (rows, people)} of a release, its derived splits included.

  People are the distinct identities that are not empty. Their number is None for a split whose
  rows no part of the benchmark reads.
  """
  counts: dict[str, Count] = {split: (rows, None) for split, rows in release.counts.items()}
  tables = {
    split: releases.columns(release, split)
    for split in (*splits.judged(), "sensitive")
    if split in release.counts
  }
  identities = {split: table["identity_id"] for split, table in tables.items()}
  counts |= {split: (len(column), _people(column)) for split, column in identities.items()}
  for name, (split, mask) in derived.masks(release, tables).items():
    counts[name] = int(mask.sum()), _people(identities[split][mask])
  return counts


def print_counts(release: Release, console: Console) -> None:
  """Prints the counts of a release next to the published ones, at most WIDTH columns wide."""
  table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
  table.add_column("set", overflow="fold")
  for head in ("rows\nhere", "rows\npublished", "identities\nhere", "identities\npublished"):
    table.add_column(head, justify="right")
  table.add_column("")
  approximate = {row["set"] for row in published.COUNTS if row["approximate"]}
  for row in compare(count(release)):
    counted, expected = row.counted or (None, None), row.published or (None, None)
    rows = f"{'~' if row.set in approximate else ''}{_number(expected[0])}"
    rows += "*" if row.mark == "inferred" else ""
    cells = (_number(counted[0]), rows, _number(counted[1]), _number(expected[1]))
    verdict = _verdict(row)
    table.add_row(Text(row.set), *cells, Text(verdict, style=STYLES[verdict]))
  console.print(Text(f"Counts of {release.name}"))
  console.print(table, width=min(console.width, WIDTH))
  note = (
    f"Published: {published.SOURCE['title']}, arXiv {published.SOURCE['arxiv']}. *: inferred from "
    f"released numbers. ~: approximate, agrees within {TOLERANCE:.1%}."
  )
  console.print(Text(note, style="dim"), width=min(console.width, WIDTH))


def main(argv: Sequence[str] | None = None) -> int:
  """Prints the counts of one release; returns the exit code."""
  parser = argparse.ArgumentParser(prog="python -m salmu_jax.data.counts", description=__doc__)
  parser.add_argument("release", help="directory of a release, or hub:OWNER/NAME[@REVISION]")
  parser.add_argument("--training", default="", help="the same, for its training data")
  args = parser.parse_args(argv)
  try:
    release = releases.open_release(args.release, training=args.training)
    print_counts(release, progress.terminal(width=None if sys.stdout.isatty() else WIDTH))
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


def _agrees(counted: Count, expected: Count, approximate: bool) -> bool:
  (rows, people), (expected_rows, expected_people) = counted, expected
  if abs(rows - expected_rows) > (TOLERANCE * expected_rows if approximate else 0):
    return False
  return people is None or expected_people is None or people == expected_people


def _people(identities: Iterable[str]) -> int:
  """The number of people in a column of identity ids, in which "" is nobody."""
  return len(set(identities) - {""})


def _number(value: int | None) -> str:
  return "-" if value is None else f"{value:,}"


def _verdict(row: Comparison) -> str:
  """A key of STYLES."""
  if row.published is None:
    return "not published"
  return {True: "agrees", False: "differs", None: "missing"}[row.agrees]


if __name__ == "__main__":
  with pipes.ending_quietly():
    sys.exit(main())
