"""Makes the report on experiments/mini/results: python -m experiments.mini.tabulate"""

import pathlib

from rich.console import Console

from salmu_jax.report import leaderboard, statistics, statistics_text, writing
from salmu_jax.report import markdown as md
from salmu_jax.results.reading import read_results
from salmu_jax.results.shares import SIDES
from salmu_jax.runtime.progress import duration

HERE = pathlib.Path(__file__).parent


def section(folder=HERE / "results"):
  """The README's part on mini: shares with their intervals, attacks, verdicts, the time that
  training and judging took, and the device.
  """
  results = read_results(folder)
  rows, summary = leaderboard.rows(results), statistics.of_table(results)
  sides, attacks = {key: side.label for key, side in SIDES.items()}, rows[0]["recoverability"]
  lines = [["model", "budget", *sides.values(), *attacks, "failure mode"]]
  lines.append(["---", "---:", *["---:"] * (len(sides) + len(attacks)), "---"])
  for row in rows:
    shares = summary["shares"].get(row["model"])
    kept = [statistics_text.share(shares.get(side)) if shares else "" for side in sides]
    back = [
      leaderboard.MISSING if v is None else f"{v:.3f}" for v in row["recoverability"].values()
    ]
    budget = "" if row["budget"] is None else f"{row['budget']:g}x"
    lines.append([f"`{row['model']}`", budget, *kept, *back, row["verdict"]])
  about = [result["salmu_jax"] for result in results]
  training = sum(a["wall_seconds"] for a in about)
  judging = sum(a["evaluation_seconds"] for a in about)
  spent = (
    f"Training {len(about)} models took {duration(training)}, judging and attacking them "
    f"{duration(judging)}, on {about[0]['device']}.\n"
  )
  return f"{leaderboard.paragraph(results)}\n\n{md.table(lines)}\n{spent}"


if __name__ == "__main__":
  writing.report_folder(HERE / "results", HERE, Console())
