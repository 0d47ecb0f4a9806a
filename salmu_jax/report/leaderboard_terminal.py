"""The leaderboard on a terminal: metrics, facts and retrieval, attacks."""

import re
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from salmu_jax.report import leaderboard, published_table
from salmu_jax.results import clauses

HEADS = {"lower": "down", "higher": "keep", "floor": "floor", "equal": "equal"}
BOUNDS = (
  "down: should fall to Clean's value. keep: should stay at Compromised's value. floor: should not "
  "fall below Compromised's value. equal: should equal Clean's value, neither above nor below."
)


def show(rows: Sequence[Mapping], console: Console) -> None:
  """Prints the table: each value with its distance to the bound below, dimmed.

  Args:
    rows: what `rows` returns.
    console: rich.console.Console. The table takes 100 columns even if there are fewer.
  """
  gap = (0, 1 if console.width >= 115 else 0, 0, 0)
  table = Table(box=box.SIMPLE_HEAD, padding=gap, pad_edge=False, show_edge=False)
  table.add_column("model", min_width=12, max_width=28, overflow="fold")
  shown = leaderboard.columns(rows, released=True)
  _add_metrics(table, shown)
  table.add_column("failure mode", min_width=16, max_width=18, overflow="fold")
  for at, row in enumerate(rows):
    name = Text(row["model"])
    name.append("" if row["budget"] is None else f"\n{row['budget']:g}x", style="dim")
    cells = [_cell(row["scores"][key], row["distances"][key]) for key in shown]
    table.add_row(name, *cells, Text(row["verdict"], style=_style(row)), end_section=at == 1)
  published_table.print_whole(table, console, max(console.width, 100))
  console.print(Text(f"Below each value: its distance to the bound. {BOUNDS}", style="dim"))
  if leaderboard.columns(rows, released=False):
    _show_own(rows, console)
  if leaderboard.attacked(rows):
    _show_recoverability(rows, console)


def _add_metrics(table, shown):
  for key, metric in shown.items():
    name = re.sub("_|(?<=[a-z])(?=[A-Z])", "\n", key)
    table.add_column(Text.assemble(name, "\n", (HEADS[metric.better], "dim")), justify="right")


def _show_own(rows, console):
  """Facts and retrieval, and the strict verdict that is based on them."""
  shown = leaderboard.columns(rows, released=False)
  table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
  table.add_column("model", min_width=12, max_width=28, overflow="fold")
  _add_metrics(table, shown)
  table.add_column("strict verdict", min_width=16, max_width=30, overflow="fold")
  for at, row in enumerate(rows):
    cells = [_cell(row["scores"][key], row["distances"][key]) for key in shown]
    words = Text(row["strict_verdict"], style=_strict_style(row))
    table.add_row(Text(row["model"]), *cells, words, end_section=at == 1)
  console.print()
  console.print(Text("facts and retrieval", style="bold"))
  published_table.print_whole(table, console, max(console.width, 100))


def _strict_style(row):
  if row["role"] != "unlearned" or row["strict_verdict"].startswith("not judged"):
    return "dim"
  return "green" if row["strict_verdict"] == clauses.PASSES else "red"


def _show_recoverability(rows, console):
  table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
  table.add_column("model", min_width=12, max_width=28, overflow="fold")
  for key in rows[0]["recoverability"]:
    table.add_column(key, justify="right")
  for at, row in enumerate(rows):
    cells = leaderboard.attack_cells(row, rows[0], _cell)
    table.add_row(Text(row["model"]), *cells, end_section=at == 1)
  console.print()
  console.print(Text("recoverability (attacks), to compare with Clean", style="bold"))
  published_table.print_whole(table, console, max(console.width, 100))


def _style(row):
  if row["role"] != "unlearned" or row["leak_removed"] is None:
    return "dim"
  return "red" if row["failures"] else "green"


def _cell(value, distance):
  if value is None:
    return Text(leaderboard.MISSING, style="yellow")
  cell = Text(_short(f"{value:.3f}"))
  return cell if distance is None else cell.append(_short(f"\n{distance:+z.3f}"), style="dim")


def _short(number):
  """`.321` for `0.321`, so that eleven columns fit."""
  return re.sub(r"(?<!\d)0\.", ".", number)
