"""Tables as CSV that a spreadsheet shows verbatim."""

import csv
import io
from collections.abc import Iterable, Sequence

# Prefixes that a spreadsheet reads as the start of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(lines: Iterable[Sequence[object]]) -> str:
  """Lines of text and numbers as CSV; text that looks like a formula is prefixed with a quote."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerows([[_cell(value) for value in line] for line in lines])
  return text.getvalue()


def _cell(value):
  return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
