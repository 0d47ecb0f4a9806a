"""Tables as CSV that a spreadsheet shows as it is."""

import csv
import io
from collections.abc import Iterable, Sequence

# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(lines: Iterable[Sequence[object]]) -> str:
  """Lines of texts and numbers as CSV; a text that looks like a formula gets a quote before it."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerows([[_cell(value) for value in line] for line in lines])
  return text.getvalue()


def _cell(value):
  return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
