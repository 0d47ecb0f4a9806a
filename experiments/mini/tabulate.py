"""Writes the README's table from experiments/mini/results: python -m experiments.mini.tabulate"""

import pathlib

from rich.console import Console

from salmu_jax import files
from salmu_jax.report import leaderboard
from salmu_jax.report.results import read_results
from salmu_jax.workdir import minutes

HERE = pathlib.Path(__file__).parent
README = HERE.parent.parent / "README.md"
BEGIN, END = "<!-- mini: begin -->\n", "<!-- mini: end -->\n"


def section(folder=HERE / "results"):
  """The README's part on mini: the leaderboard, and how long it took on what."""
  results = read_results(folder)
  about = [result["salmu_jax"] for result in results]
  training = sum(a["wall_seconds"] for a in about)
  judging = sum(a["evaluation_seconds"] for a in about)
  spent = (
    f"Training {len(about)} models took {minutes(training)} and evaluating them {minutes(judging)}, "
    f"on {about[0]['device']}.\n"
  )
  table = leaderboard.markdown(leaderboard.rows(results), results)
  return table.removeprefix("# Leaderboard\n\n") + "\n" + spent


def replaced(readme, part):
  """`readme` with `part` between its marks."""
  before, rest = readme.split(BEGIN)
  _, after = rest.split(END)
  return before + BEGIN + part + END + after


if __name__ == "__main__":
  files.write_text(README, replaced(README.read_text(), section()))
  leaderboard.report(HERE / "results", HERE, Console())
