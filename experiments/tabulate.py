"""Writes the README's tables, each from the JSON that its study kept: python -m experiments.tabulate"""

import pathlib

from experiments.embed_speed import measure as embed_speed
from experiments.mini import tabulate as mini
from experiments.parity import measure as parity
from experiments.published import readings
from salmu_jax import files
from salmu_jax.report import published

README = pathlib.Path(__file__).parent.parent / "README.md"
# Name between `<!-- name: begin -->` and `<!-- name: end -->` -> what makes the text there.
SECTIONS = {
  "mini": mini.section,
  "parity": parity.section,
  "embed_speed": embed_speed.section,
  "readings": readings.section,
  "published": published.published_markdown,
}


def filled(readme):
  """`readme` with every section made anew."""
  for name, make in SECTIONS.items():
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, rest = readme.split(begin)
    _, after = rest.split(end)
    readme = before + begin + make() + end + after
  return readme


if __name__ == "__main__":
  files.write_text(README, filled(README.read_text()))
