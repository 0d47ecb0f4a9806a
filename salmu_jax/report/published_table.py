"""The published numbers as tables, apart from the measured ones: Markdown and terminal."""

import re

from rich import box
from rich.console import Console
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from salmu_jax.report import markdown as md
from salmu_jax.results import diagnosis, published
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.results.shares import SIDES

TITLE = "Published numbers, not measured here"
WIDTH = 100
LEAKAGE = "RetFail_R@1"  # the published table has it instead of RetFail_MRR
ABSENT = "-"
_LEGEND = "A dash means not published."
DIGITS = (3, 5, 6)  # decimals of the published values


def rows() -> list[dict]:
  """The published models: Clean and Compromised, then the methods in the published order.

  Returns:
    Dicts of `model`, `budget` (None for a bound), `scores` ({key of METRICS: float or None}), the
    paper's `verdict`, and `diagnosis`, the failure mode by our thresholds; "" for a bound and for
    methods with too few published values.
  """
  clean, compromised = (published.MODELS[name] for name in ("clean", "compromised"))
  bounds = [
    _row(name.capitalize(), None, published.MODELS[name], "bound", "")
    for name in ("clean", "compromised")
  ]
  methods = [
    _row(
      *(row[key] for key in ("name", "budget", "scores", "verdict")),
      _diagnosis(row["scores"], clean, compromised),
    )
    for row in published.METHODS
  ]
  return bounds + methods


def _row(model, budget, values, verdict, word):
  values = {key: values.get(key) for key in METRICS}
  return {
    "model": model, "budget": budget, "scores": values, "verdict": verdict, "diagnosis": word
  }  # fmt: skip


def _diagnosis(values, clean, compromised):
  gaps = {side.metric for side in SIDES.values() if not side.of_value and not side.removed}
  if not {LEAKAGE, *gaps} <= values.keys():
    return ""
  return diagnosis.diagnose(values, clean, compromised, leakage=LEAKAGE).word


def published_markdown() -> str:
  """The published table and its source, as GitHub-flavoured Markdown."""
  table, keys = rows(), _keys()
  heads = ["model", "budget", *keys, "the paper's verdict", "our failure mode"]
  lines = [heads, ["---", *["---:"] * (1 + len(keys)), "---", "---"]]
  for row in table:
    values = [_exact(row["scores"][key]) for key in keys]
    words = [row["verdict"], row["diagnosis"] or ABSENT]
    budget = "" if row["budget"] is None else f"{row['budget']:g}x"
    lines.append([f"{row['model']} *(published)*", budget, *values, *words])
  return f"{md.table(lines)}\n{source()} {_LEGEND}\n"


def show_published(console: Console, release: str) -> None:
  """Prints the published values with three decimals, and our failure mode below the paper's.

  For another release, with which they are not comparable, one line says where they are.

  Args:
    console: rich.console.Console. The table takes WIDTH columns even if there are fewer.
    release: name of the release that the measured models are judged on.
  """
  if not release.startswith(published.DATASET):
    line = f"leaderboard.md has the published values of {published.DATASET} too."
    console.print(Text(line, style="dim"))
    return
  table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
  table.add_column("model", max_width=14, overflow="fold")
  for key in _keys():
    table.add_column(re.sub("_|(?<=[a-z])(?=[A-Z])", "\n", key), justify="right")
  head = Text.assemble("the paper's verdict\n", ("our failure mode", "dim"))
  table.add_column(head, min_width=20, overflow="fold")
  for at, row in enumerate(rows()):
    name = Text(row["model"])
    name.append("" if row["budget"] is None else f"\n{row['budget']:g}x", style="dim")
    values = (_short(row["scores"][key]) for key in _keys())
    words = Text(row["verdict"])
    words.append(f"\n{row['diagnosis']}" if row["diagnosis"] else "", style="dim")
    table.add_row(name, *values, words, end_section=at == 1)
  console.print()
  console.print(Text(TITLE[0].lower() + TITLE[1:], style="bold"))
  print_whole(table, console, WIDTH)
  console.print(Text(f"{source()} {_LEGEND}", style="dim"), width=min(console.width, WIDTH))


def print_whole(table: Table, console: Console, width: int) -> None:
  """Prints a table `width` columns wide; a narrower console cuts no cell short."""
  options = console.options.update(width=width)
  console.print(Segments(console.render(table, options)), soft_wrap=True, end="")


def _keys():
  """The metrics that are published for any of the models."""
  return [key for key in METRICS if any(r["scores"][key] is not None for r in rows())]


def source() -> str:
  """The source of the published values, and what they are comparable with, as text."""
  source = published.SOURCE
  return (
    f"Source: {source['title']} ({source['venue']}, arXiv {source['arxiv']}; {source['page']}). "
    f"Clean and Compromised: {source['evaluator']}. Methods: the paper's table. None of these "
    "numbers was measured here; they are comparable only with results on the release "
    f"{published.DATASET}. Our failure mode applies our thresholds to the published digits, with "
    f"leakage read from {LEAKAGE}."
  )


def _exact(value):
  """A number with all its published digits."""
  if value is None:
    return ABSENT
  return f"{value:.{next(n for n in DIGITS if n == DIGITS[-1] or round(value, n) == value)}f}"


def _short(value):
  """`.322` for 0.32154."""
  return ABSENT if value is None else re.sub(r"(?<!\d)0\.", ".", f"{value:.3f}")
