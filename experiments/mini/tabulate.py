"""Makes the report on experiments/mini/results: python -m experiments.mini.tabulate"""

import pathlib

from rich.console import Console

from salmu_jax.report import leaderboard, statistics, statistics_text, writing
from salmu_jax.report import markdown as md
from salmu_jax.results.reading import read_results
from salmu_jax.results.shares import SIDES
from salmu_jax.runtime import files
from salmu_jax.runtime.progress import duration

HERE = pathlib.Path(__file__).parent
TIMES = HERE / "times.json"


def section(folder=HERE / "results"):
  """The README's part on mini: shares with their intervals, attacks, verdicts, the time that the
  run took, and the device.
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
  seconds, device = files.read_json(TIMES)["last_run"]["seconds"], results[0]["salmu_jax"]["device"]
  spent = f"All of it, from an empty workdir to the report, took {duration(seconds)} on {device}.\n"
  return f"{leaderboard.paragraph(results)}\n\n{md.table(lines)}\n{spent}"


def times():
  """The stages of the kept run by kind, with their number and time."""
  record, kinds = files.read_json(TIMES), {}
  budgets = {r["model"]: r["budget"] for r in leaderboard.rows(read_results(HERE / "results"))}
  for stage, seconds in record["stages"].items():
    verb, _, model = stage.partition(" ")
    kind = verb if verb in ("pretrain", "evaluate", "attack") else stage
    kind = f"unlearn, at {budgets[model]:g}x" if verb == "unlearn" else kind
    kinds.setdefault(kind, []).append(seconds)
  lines = [["stage", "number", "time"], ["---", "---:", "---:"]]
  lines += [[kind, str(len(each)), duration(sum(each))] for kind, each in kinds.items()]
  run = record["last_run"]
  lines.append(["**the whole run**", "", f"**{duration(run['seconds'])}**"])
  programs, memory = run["programs_compiled"], run["peak_memory_bytes"] / 2**30
  compiling = f"{duration(run['compiling_seconds'])} went into compiling {programs} programs"
  return f"{md.table(lines)}\nOf it, {compiling}. Peak memory was {memory:.1f} GiB.\n"


if __name__ == "__main__":
  writing.report_folder(HERE / "results", HERE, Console())
