"""The leaderboard: results files in, one table out, for the terminal and as Markdown, CSV, JSON."""

import csv
import io
import pathlib
import re
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from salmu_jax.report import markdown as md
from salmu_jax.report import published_table
from salmu_jax.results import diagnosis, recoverability
from salmu_jax.results.metrics_table import METRICS, distances, flatten
from salmu_jax.results.shares import SIDES, Shares, order_in_words, ranked
from salmu_jax.runtime import files

ABOUT = ("model", "role", "method", "budget", "seed", "steps", "wall_seconds", "device", "reads")
MISSING = "missing"
HEADS = {"lower": "down", "higher": "keep", "floor": "floor"}
ADVICE = {
  "lower": "down to Clean's value",
  "higher": "as high as Compromised's value",
  "floor": "not below Compromised's value",
}
BOUNDS = (
  "down: should fall to Clean's value. keep: should stay at Compromised's value. floor: should not "
  "fall below Compromised's value."
)
FILES = ("leaderboard.md", "leaderboard.csv", "leaderboard.json")


def rows(
  results: Sequence[Mapping], thresholds: Mapping[str, float] = diagnosis.THRESHOLDS
) -> list[dict]:
  """The table: one dict a model, in the leaderboard's order.

  Clean and Compromised come first. Methods follow by their weakest share, see `shares.ranked`. What
  cannot be judged comes last.

  Args:
    results: what `read_results` returns.
    thresholds: see `diagnosis.THRESHOLDS`.

  Returns:
    Dicts with the keys of ABOUT, "settings", "tuning", "verdict", "failures", the keys of
    `shares.SIDES`, "scores" and "distances" by the keys of METRICS, and "recoverability" by those
    of the attacks on any of the models; None where a number is missing.
  """
  values = [flatten(result) for result in results]
  attacks = recoverability.attacks(results)
  table = [
    _row(
      result["salmu_jax"],
      numbers,
      recoverability.values(result, attacks),
      values[:2],
      thresholds,
    )
    for result, numbers in zip(results, values, strict=True)
  ]
  methods = {row["model"]: row for row in table[2:]}
  unjudged = sorted(model for model, row in methods.items() if row["leak_removed"] is None)
  judged = {model: shares_of(row) for model, row in methods.items() if model not in unjudged}
  order = [*ranked(judged), *unjudged]
  return table[:2] + [methods[model] for model in order]


def _row(about, values, attacked, bounds, thresholds):
  clean, compromised = bounds
  row = {key: about[key] for key in (*ABOUT, "settings")}
  row["tuning"] = about.get("tuning")  # older files do not say
  why_not = diagnosis.obstacle(values, clean, compromised)
  verdict = None if why_not else diagnosis.diagnose(values, clean, compromised, thresholds)
  bound = about["role"] != "unlearned"
  row["verdict"] = "bound" if bound else why_not or verdict.word
  row["failures"] = list(verdict.failures) if verdict and not bound else []
  row |= dict.fromkeys(SIDES) if verdict is None else verdict.shares._asdict()
  row["scores"] = values
  row["recoverability"] = attacked
  row["distances"] = distances(values, clean, compromised)
  return row


def shares_of(row: Mapping) -> Shares:
  """The shares of a row of the leaderboard."""
  return Shares(**{side: row[side] for side in SIDES})


def show(rows: Sequence[Mapping], console: Console) -> None:
  """Prints the table: each value, and dim below it its distance to its bound.

  Args:
    rows: what `rows` returns.
    console: rich.console.Console. The table takes 100 columns, also where there are fewer.
  """
  gap = (0, 1 if console.width >= 115 else 0, 0, 0)
  table = Table(box=box.SIMPLE_HEAD, padding=gap, pad_edge=False, show_edge=False)
  table.add_column("model", min_width=12, max_width=28, overflow="fold")
  for key, metric in METRICS.items():
    name = re.sub("_|(?<=[a-z])(?=[A-Z])", "\n", key)
    head = Text.assemble(name, "\n", (HEADS[metric.better], "dim"))
    table.add_column(head, justify="right")
  table.add_column("failure mode", min_width=16, max_width=18, overflow="fold")
  for at, row in enumerate(rows):
    name = Text(row["model"])
    name.append("" if row["budget"] is None else f"\n{row['budget']:g}x", style="dim")
    cells = [_cell(row["scores"][key], row["distances"][key]) for key in METRICS]
    table.add_row(name, *cells, Text(row["verdict"], style=_style(row)), end_section=at == 1)
  published_table.print_whole(table, console, max(console.width, 100))
  console.print(Text(f"Below each value its distance to its bound. {BOUNDS}", style="dim"))
  if _attacked(rows):
    _show_recoverability(rows, console)


def _show_recoverability(rows, console):
  table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
  table.add_column("model", min_width=12, max_width=28, overflow="fold")
  for key in rows[0]["recoverability"]:
    table.add_column(Text.assemble(f"{key}\n", ("down", "dim")), justify="right")
  for at, row in enumerate(rows):
    cells = _attack_cells(row, rows[0], _cell)
    table.add_row(Text(row["model"]), *cells, end_section=at == 1)
  console.print()
  console.print(Text("what an attacker gets back", style="bold"))
  published_table.print_whole(table, console, max(console.width, 80))


def _style(row):
  if row["role"] != "unlearned" or row["leak_removed"] is None:
    return "dim"
  return "red" if row["failures"] else "green"


def _cell(value, distance):
  if value is None:
    return Text(MISSING, style="yellow")
  cell = Text(_short(f"{value:.3f}"))
  return cell if distance is None else cell.append(_short(f"\n{distance:+z.3f}"), style="dim")


def _short(number):
  """`.321` for `0.321`: eleven columns have to fit."""
  return re.sub(r"(?<!\d)0\.", ".", number)


def write(
  rows: Sequence[Mapping],
  out_dir: str | pathlib.Path,
  results: Sequence[Mapping],
  thresholds: Mapping[str, float] = diagnosis.THRESHOLDS,
) -> list[pathlib.Path]:
  """Writes leaderboard.md, leaderboard.csv and leaderboard.json; same results, same bytes.

  What is published stands in leaderboard.md alone, under a heading of its own.

  Args:
    rows: what `rows` returns.
    out_dir: folder of the files; what is there under these names is replaced.
    results: what `read_results` returns, for the paragraph on how the models were judged.

  Returns:
    The three paths.
  """
  out_dir = pathlib.Path(out_dir)
  paths = [out_dir / name for name in FILES]
  published = f"## {published_table.TITLE}\n\n{published_table.published_markdown()}"
  files.write_text(paths[0], f"{markdown(rows, results, thresholds)}\n{published}")
  files.write_text(paths[1], _csv(rows))
  files.write_json(paths[2], rows)
  return paths


def markdown(
  rows: Sequence[Mapping],
  results: Sequence[Mapping],
  thresholds: Mapping[str, float] = diagnosis.THRESHOLDS,
) -> str:
  """The table as GitHub-flavoured Markdown, between how it was made and how to read it."""
  bounds = {key: metric.bound.capitalize() for key, metric in METRICS.items()}
  heads = ["model", "budget", *(f"{key} ({bounds[key]})" for key in METRICS), "failure mode"]
  lines = [heads, ["---", *["---:"] * (len(heads) - 2), "---"]]
  for row in rows:
    budget = "" if row["budget"] is None else f"{row['budget']:g}x"
    cells = [_pair(row["scores"][key], row["distances"][key]) for key in METRICS]
    lines.append([md.escape(row["model"]), budget, *cells, row["verdict"]])
  attacked = _recoverability(rows, results)
  head = f"# Leaderboard\n\n{paragraph(results)}\n"
  return f"{head}\n{md.table(lines)}\n{_legend(thresholds)}\n{attacked}"


def paragraph(results: Sequence[Mapping]) -> str:
  """How the models of a table were made and judged, in one paragraph."""
  about = [result["salmu_jax"] for result in results]
  release = about[0]["release"]

  def every(key, shape="{}"):
    values = sorted({model[key] for model in about if model[key] is not None})
    return ", ".join(md.escape(shape.format(value)) for value in values) or MISSING

  def every_known(key):
    """`every`, and which models lack it, as imported weights do."""
    without = [md.escape(model["model"]) for model in about if model[key] is None]
    if not without or len(without) == len(about):
      return every(key)
    return f"{every(key)} ({MISSING} for {', '.join(without)})"

  runs = len(about) - 2
  return (
    f"{runs} unlearned model{'' if runs == 1 else 's'} beside Clean and Compromised. "
    f"Release: {md.escape(release['name'])} (manifest sha256 "
    f"{md.escape(release['manifest_sha256'][:12])}). Unit of the holdout: "
    f"{md.escape(release['holdout_unit'])}. Retrieval gallery: {release['retrieval_gallery']:,} "
    f"captions. Budget: {every('budget', '{:g}x')} (1x is one pass over `forget`). Seed: "
    f"{every_known('seed')}. GenKnow ran on: {every('general_knowledge')}. Device: "
    f"{every_known('device')}."
  )


def _legend(thresholds):
  metrics = (f"- `{key}`: {m.name}; {ADVICE[m.better]}" for key, m in METRICS.items())
  return "\n".join(
    [
      "Each cell: the value, and in brackets its distance to the bound named in the head. "
      f"`{MISSING}` means that the results hold no number. Order: by {order_in_words()}; the "
      "largest first.",
      "",
      *metrics,
      "",
      "Failure modes:",
      "",
      *(f"- {failure}: {diagnosis.meaning(failure, thresholds)}" for failure in diagnosis.FAILURES),
    ]
  )


def _pair(value, distance):
  if value is None:
    return MISSING
  return f"{value:.3f}" if distance is None else f"{value:.3f} ({distance:+z.3f})"


def _recoverability(rows, results):
  """The third pillar as a table with its legend; empty where no model was attacked."""
  if not _attacked(rows):
    return ""
  attacks = recoverability.attacks(results)
  heads = ["model", *(f"{key} (Clean)" for key in attacks)]
  lines = [heads, ["---", *["---:"] * len(attacks)]]
  for row in rows:
    lines.append([md.escape(row["model"]), *_attack_cells(row, rows[0], _pair)])
  legend = "".join(f"- `{key}`: {md.escape(label)}\n" for key, label in attacks.items())
  return (
    "\n## Recoverability\n\nWhat an attacker gets of what was to be forgotten; down to Clean's "
    f"value.\n\n{md.table(lines)}\n{legend}"
  )


def _attacked(rows):
  """Whether any of the models was."""
  return any(value is not None for row in rows for value in row["recoverability"].values())


def _attack_cells(row, clean, cell):
  """cell(value, distance to what it gets of Clean) of every attack on a model."""
  values, bounds = row["recoverability"], clean["recoverability"]
  return [cell(value, distance_to_clean(value, bounds[key])) for key, value in values.items()]


def distance_to_clean(value: float | None, clean: float | None) -> float | None:
  """How far what an attack gets is from what it gets of Clean; None where either is missing."""
  return None if value is None or clean is None else value - clean


def _csv(rows):
  """One line a model, numbers in full; a field that does not apply to the model is empty.

  Seed and steps apply to every model, but of imported weights nobody knows them.
  """
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  distances = (f"{key}_distance" for key in METRICS)
  writer.writerow(["model", "role", "method", "budget", "seed", "steps", "verdict", *SIDES,
                   *METRICS, *distances, *rows[0]["recoverability"]])  # fmt: skip
  for row in rows:
    about = [row[key] for key in ("model", "role", "method", "budget")]
    numbers = [
      *(row[key] for key in SIDES),
      *row["scores"].values(),
      *row["distances"].values(),
      *row["recoverability"].values(),
    ]
    applying = ["" if value is None else value for value in about]
    numbers = [row["seed"], row["steps"], row["verdict"], *numbers]
    writer.writerow([*applying, *(MISSING if value is None else value for value in numbers)])
  return text.getvalue()
