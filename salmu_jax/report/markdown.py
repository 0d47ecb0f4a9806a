"""Tables and text as GitHub-flavoured Markdown."""

import html
import re
from collections.abc import Iterable, Sequence


def table(lines: Iterable[Sequence[str]]) -> str:
  """Lines of cells as a Markdown table; the second line holds the alignments."""
  return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escape(text: str) -> str:
  """Text that a Markdown table shows verbatim: one line, no markup, no link, no new cell."""
  text = html.escape(" ".join(text.split()), quote=False)
  # An underscore inside a word is no markup, so `direct_similarity` stays readable in the source.
  outer = "(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
  # GitHub turns addresses into links, and text between two dollar signs into a formula.
  address = r":(?=//)|(?<=www)\.|@"
  return re.sub(rf"[\\`*\[\]|~$]|{outer}|{address}", r"\\\g<0>", text)
