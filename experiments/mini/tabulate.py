"""Writes the report on experiments/mini/results: python -m experiments.mini.tabulate"""

import pathlib

from rich.console import Console

from experiments.clean_seeds import study as clean_seeds
from experiments.meta import study as meta
from experiments.mini import noise
from salmu_jax.report import leaderboard, statistics, statistics_text, writing
from salmu_jax.report import markdown as md
from salmu_jax.results import clauses
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.results.reading import read_results
from salmu_jax.results.shares import SIDES, STRICT_SIDES
from salmu_jax.runtime import files
from salmu_jax.runtime.progress import duration

HERE = pathlib.Path(__file__).parent
TIMES = HERE / "times.json"


def section(folder=HERE / "results"):
  """The README's section on mini: shares with intervals and both verdicts; facts and retrieval;
  attacks; the noise of all of these; the run time and the device.
  """
  results = read_results(folder)
  rows, summary = leaderboard.rows(results), statistics.of_table(results)
  seconds, device = files.read_json(TIMES)["last_run"]["seconds"], results[0]["salmu_jax"]["device"]
  spent = f"The run took {duration(seconds)} on {device}, from an empty workdir to the report.\n"
  parts = [
    leaderboard.paragraph(results) + "\n",
    _shares(rows, summary),
    "Facts and retrieval:\n",
    _facts(rows),
    "Attacks (recoverability):\n",
    _attacks(rows),
    _noise_in_words(),
    spent,
  ]
  return "\n".join(parts)


def _shares(rows, summary):
  """The table of shares with their intervals, and both verdicts."""
  lines = [
    ["model", "budget", *(side.label for side in SIDES.values()), "verdict", "strict verdict"]
  ]
  lines.append(["---", "---:", *["---:"] * len(SIDES), "---", "---"])
  for row in rows:
    if row["role"] != "unlearned":
      continue
    shares = summary["shares"].get(row["model"])
    kept = [statistics_text.share(shares.get(side)) if shares else "" for side in SIDES]
    budget = "" if row["budget"] is None else f"{row['budget']:g}x"
    lines.append(
      [f"`{row['model']}`", budget, *kept, row["verdict"], clauses.in_short(row["clauses"])]
    )
  floor = noise.of_shares(SIDES, *(row["scores"] for row in rows[:2]))
  lines += _noise("", *(_number(floor.get(side), "z.1%", "") for side in SIDES), "", "")
  return md.table(lines)


def _facts(rows):
  """The listed metrics of facts and retrieval; for holdouts, the share kept."""
  leaks = [key for key, metric in METRICS.items() if metric.better == "equal" and metric.listed]
  heads = [*leaks, *(side.label for side in STRICT_SIDES.values())]
  lines = [["model", *heads], ["---", *["---:"] * len(heads)]]
  for row in rows:
    cells = [_number(row["scores"][key]) for key in leaks]
    kept = [
      "" if row["role"] != "unlearned" else _number(row[side], "z.1%") for side in STRICT_SIDES
    ]
    lines.append([f"`{row['model']}`", *cells, *kept])
  floor = noise.of_shares(STRICT_SIDES, *(row["scores"] for row in rows[:2]))
  of_leak = noise.of_metrics()
  kept = (_number(floor.get(side), "z.1%", "") for side in STRICT_SIDES)
  lines += _noise(*(_number(of_leak.get(key), missing="") for key in leaks), *kept)
  return md.table(lines)


def _attacks(rows):
  """The value of every attack on every model."""
  attacks = rows[0]["recoverability"]
  lines = [["model", *attacks], ["---", *["---:"] * len(attacks)]]
  for row in rows:
    lines.append([f"`{row['model']}`", *map(_number, row["recoverability"].values())])
  floor = noise.of_attacks()
  lines += _noise(*(_number(floor.get(key), missing="") for key in attacks))
  return md.table(lines)


def _number(value, digits=".3f", missing=leaderboard.MISSING):
  return missing if value is None else f"{value:{digits}}"


def _noise(*cells):
  """The row of the noise floor; empty if it was not measured."""
  return [["*noise*", *cells]] if any(cells) else []


def _noise_in_words():
  """An explanation of the noise row; empty if it was not measured."""
  seeds = len(clean_seeds.compromised_scores())
  if not seeds:
    return ""
  attacks = f" ({len(meta.SEEDS)} for attacks)" if noise.of_attacks() else ""
  return (
    f"*noise*: the standard deviation over {seeds} Compromised models that differ only in their "
    f"seed{attacks}. Differences between two models below the noise are not meaningful.\n"
  )


def times():
  """The table of the stored run's stages by kind, with their number and time."""
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
  compiling = f"Compiling {programs} programs took {duration(run['compiling_seconds'])} of it"
  return f"{md.table(lines)}\n{compiling}. Peak memory was {memory:.1f} GiB.\n"


if __name__ == "__main__":
  writing.report_folder(HERE / "results", HERE, Console())
