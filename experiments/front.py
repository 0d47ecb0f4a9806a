"""The tables of the front page, README: mini and the frontier in one, what a run prints, and how
long it takes.
"""

import io
from collections.abc import Mapping

from rich.console import Console

from experiments.anchored import tabulate as anchored
from experiments.anchored import variants
from experiments.mini import tabulate as mini
from experiments.strict import frontier, frontier_table
from salmu_jax.report import leaderboard, leaderboard_terminal
from salmu_jax.report import markdown as md
from salmu_jax.results.reading import read_results
from salmu_jax.results.shares import SIDES, STRICT_SIDES, side_shares
from salmu_jax.runtime import files
from salmu_jax.runtime.progress import duration

# Column -> sides, of which the smallest is shown.
SHARES = {
  "leak removed": ("leak_removed",),
  "GenKnow kept": ("knowledge_kept",),
  "holdout cosines kept": ("inter_kept", "intra_kept"),
  "holdout retrieval kept": ("inter_ret_kept", "intra_ret_kept"),
  "holdout facts kept": ("inter_fact_kept", "intra_fact_kept"),
}
# What the frontier adds: label of a run -> how the table names it.
FRONTIER = {
  frontier.at(frontier.BUDGETS[-1]): f'`target="removed"`, {frontier.BUDGETS[-1]:g}x',
  frontier.TOKENS: f"the same, token embeddings alone, {variants.COMPARED:g}x",
}
_WIDTH = 116  # columns of the terminal
_MODELS = 3  # that the excerpt of the terminal shows


def smallest_shares(scores: Mapping, clean: Mapping, compromised: Mapping) -> dict[str, float]:
  """{column: the smallest share of its sides} of a model's scores."""
  shares = side_shares(SIDES | STRICT_SIDES, scores, clean, compromised)
  return {column: min(shares[side] for side in sides) for column, sides in SHARES.items()}


def table() -> str:
  """The methods of mini at its budget and two runs of the frontier, with their strict verdicts."""
  rows = leaderboard.rows(read_results(mini.HERE / "results"))
  bounds = [row["scores"] for row in rows[:2]]
  models = [
    (f"`{row['model']}`, {row['budget']:g}x", row["scores"], row["clauses"]) for row in rows[2:]
  ]
  record = frontier_table.record(f"seed-{frontier.SEEDS[0]}")
  for label, words in FRONTIER.items():
    run = record["runs"][label]
    models.append((f"`anchored`, {words}", run["scores"], run["clauses"]))
  lines = [["method, budget", *SHARES, "strict clauses that hold"]]
  lines.append(["---", *["---:"] * (len(SHARES) + 1)])
  for words, scores, clauses in models:
    shares = [f"{share:z.0%}" for share in smallest_shares(scores, *bounds).values()]
    lines.append([words, *shares, f"{anchored.held(clauses)} of {len(clauses)}"])
  return md.table(lines)


def terminal() -> str:
  """The first lines of the leaderboard that a run of mini prints."""
  console = Console(file=io.StringIO(), width=_WIDTH)
  rows = leaderboard.rows(read_results(mini.HERE / "results"))
  leaderboard_terminal.show(rows[:_MODELS], console)
  text = console.file.getvalue().split("Below each value")[0]
  lines = [line.rstrip() for line in text.splitlines()]
  return "\n".join(["```", *(line for line in lines if line), "...", "```\n"])


def minutes() -> str:
  """How long mini takes."""
  last = files.read_json(mini.TIMES)["last_run"]
  took = f"From an empty workdir, `make mini` took {duration(last['seconds'])} on two CPU cores"
  return f"{took}, not counting installation.\n"
