"""Makes the report on experiments/mini/results: python -m experiments.mini.tabulate"""

import pathlib

from rich.console import Console

from salmu_jax.report import leaderboard, report
from salmu_jax.report.results import read_results
from salmu_jax.workdir import minutes

HERE = pathlib.Path(__file__).parent


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


if __name__ == "__main__":
  report.report(HERE / "results", HERE, Console())
