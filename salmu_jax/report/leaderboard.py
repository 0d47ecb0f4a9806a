"""The leaderboard: turns results files into one table, as Markdown, CSV and JSON."""

import os
from collections.abc import Callable, Mapping, Sequence

from salmu_jax.report import markdown as md
from salmu_jax.report import published_table, spreadsheet
from salmu_jax.results import clauses, diagnosis, recoverability
from salmu_jax.results.clauses import strict_verdicts
from salmu_jax.results.lookup import distances, flatten
from salmu_jax.results.metrics_table import METRICS, Metric
from salmu_jax.results.shares import (
  SIDES,
  STRICT_SIDES,
  Shares,
  order_in_words,
  ranked,
  side_shares,
)
from salmu_jax.runtime import files, places
from salmu_jax.runtime.places import Place

ABOUT = ("model", "role", "method", "budget", "seed", "steps", "wall_seconds", "device", "reads")
MISSING = "missing"
ADVICE = {
  "lower": "down to Clean's value",
  "higher": "as high as Compromised's value",
  "floor": "not below Compromised's value",
  "equal": "equal to Clean's value, neither above nor below",
}
FILES = ("leaderboard.md", "leaderboard.csv", "leaderboard.json")


def rows(
  results: Sequence[Mapping], thresholds: Mapping[str, float] = diagnosis.THRESHOLDS
) -> list[dict]:
  """The table: one dict per model, in the leaderboard's order.

  Clean and Compromised come first. Methods follow by their weakest share, see `shares.ranked`.
  Models that cannot be judged come last.

  Args:
    results: what `read_results` returns.
    thresholds: see `diagnosis.THRESHOLDS`.

  Returns:
    Dicts with the keys of ABOUT, "settings", "tuning", "verdict", "failures", the keys of SIDES and
    STRICT_SIDES, "strict_verdict", "clauses" and "clauses_left_out" (see `clauses.StrictVerdict`),
    "scores" and "distances" by the keys of METRICS, and "recoverability" by the keys of all attacks
    that any model has; None where a number is missing.
  """
  values = [flatten(result) for result in results]
  attacks = recoverability.attacks(results)
  verdicts = strict_verdicts(results, thresholds)
  table = []
  for result, numbers in zip(results, values, strict=True):
    about = result["salmu_jax"]
    attacked = recoverability.values(result, attacks)
    row = _row(about, numbers, attacked, values[:2], thresholds)
    table.append(row | _strict(verdicts.get(about["model"])))
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
  row |= side_shares(STRICT_SIDES, values, clean, compromised)
  row["scores"] = values
  row["recoverability"] = attacked
  row["distances"] = distances(values, clean, compromised)
  return row


def _strict(verdict):
  """The fields of a row about the strict verdict; bounds have none."""
  if verdict is None:
    return {"strict_verdict": "bound", "clauses": [], "clauses_left_out": []}
  return {
    "strict_verdict": verdict.word,
    "clauses": [clause._asdict() for clause in verdict.clauses],
    "clauses_left_out": list(verdict.left_out),
  }


def shares_of(row: Mapping) -> Shares:
  """The shares of a row of the leaderboard."""
  return Shares(**{side: row[side] for side in SIDES})


def columns(rows: Sequence[Mapping], *, released: bool) -> dict[str, Metric]:
  """The metrics of a table: the released evaluator's, or the further ones that any model has."""
  return {
    key: metric
    for key, metric in METRICS.items()
    if metric.listed
    and (metric.path[0] != "salmu_jax") == released
    and (released or any(row["scores"][key] is not None for row in rows))
  }


def write(
  rows: Sequence[Mapping],
  out_dir: str | os.PathLike,
  results: Sequence[Mapping],
  thresholds: Mapping[str, float] = diagnosis.THRESHOLDS,
) -> list[Place]:
  """Writes leaderboard.md, leaderboard.csv and leaderboard.json; same results, same bytes.

  The published numbers are in leaderboard.md only, under their own heading.

  Args:
    rows: what `rows` returns.
    out_dir: folder of the files; existing files of these names are replaced.
    results: what `read_results` returns, for the paragraph on how the models were judged.

  Returns:
    The three paths.
  """
  out_dir = places.place(out_dir)
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
  """The table as GitHub-flavoured Markdown, with its settings above and its legend below."""
  released = _metrics_markdown(rows, columns(rows, released=True), "failure mode", "verdict")
  head = f"# Leaderboard\n\n{paragraph(results)}\n"
  parts = [_own(rows), _recoverability(rows, results)]
  return f"{head}\n{released}\n{_legend(thresholds)}\n{''.join(parts)}"


def _metrics_markdown(rows, shown, last, key_of_last):
  """A table of some metrics, with a verdict in the last column."""
  heads = [f"{key} ({metric.bound.capitalize()})" for key, metric in shown.items()]
  lines = [["model", "budget", *heads, last], ["---", *["---:"] * (len(heads) + 1), "---"]]
  for row in rows:
    budget = "" if row["budget"] is None else f"{row['budget']:g}x"
    cells = [_pair(row["scores"][key], row["distances"][key]) for key in shown]
    lines.append([md.escape(row["model"]), budget, *cells, row[key_of_last]])
  return md.table(lines)


def _own(rows):
  """The section on facts, retrieval and the strict verdict; empty if no model has the numbers."""
  shown = columns(rows, released=False)
  if not shown:
    return ""
  table = _metrics_markdown(rows, shown, "strict verdict", "strict_verdict")
  legend = "".join(f"- `{key}`: {m.name}; {ADVICE[m.better]}\n" for key, m in shown.items())
  missed = [f"- {md.escape(row['model'])}: {_missed(row)}\n" for row in rows if row["clauses"]]
  left_out = rows[-1]["clauses_left_out"]
  note = (
    f"\nLeft out, since forget and this holdout share facts: {', '.join(left_out)}.\n"
    if left_out
    else ""
  )
  return (
    "\n## Facts and retrieval\n\nDoes the model know the value of a fact, not only the person? "
    f"Are the holdouts still retrieved?\n\n{table}\n{legend}\nFailing clauses of the strict "
    f"verdict:\n\n{''.join(missed)}{note}"
  )


def _missed(row):
  """The clauses that a model fails or that cannot be judged, with their numbers."""
  return "; ".join(clauses.unmet(row["clauses"])) or "none"


def paragraph(results: Sequence[Mapping]) -> str:
  """One paragraph on how the models of a table were made and judged."""
  about = [result["salmu_jax"] for result in results]
  release = about[0]["release"]

  def every(key, shape="{}"):
    values = sorted({model[key] for model in about if model[key] is not None})
    return ", ".join(md.escape(shape.format(value)) for value in values) or MISSING

  def every_known(key):
    """Like `every`, and names the models without a value, such as imported weights."""
    without = [md.escape(model["model"]) for model in about if model[key] is None]
    if not without or len(without) == len(about):
      return every(key)
    return f"{every(key)} ({MISSING} for {', '.join(without)})"

  runs = len(about) - 2
  return (
    f"{runs} unlearned model{'' if runs == 1 else 's'}, with Clean and Compromised for reference. "
    f"Release: {md.escape(release['name'])} (manifest sha256 "
    f"{md.escape(release['manifest_sha256'][:12])}). Holdout unit: "
    f"{md.escape(release['holdout_unit'])}. Retrieval gallery: {release['retrieval_gallery']:,} "
    f"captions. Budget: {every('budget', '{:g}x')} (1x is one pass over `forget`). Seed: "
    f"{every_known('seed')}. GenKnow ran on: {every('general_knowledge')}. Device: "
    f"{every_known('device')}."
  )


def _legend(thresholds):
  released = {key: m for key, m in METRICS.items() if m.path[0] != "salmu_jax"}
  metrics = (f"- `{key}`: {m.name}; {ADVICE[m.better]}" for key, m in released.items())
  return "\n".join(
    [
      "Each cell: the value, and in parentheses its distance to the bound in the column head. "
      f"`{MISSING}`: the results do not contain this number. Models are ordered by "
      f"{order_in_words()}, largest first.",
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
  """The attacks (third pillar) as a table with its legend; empty if no model was attacked."""
  if not attacked(rows):
    return ""
  attacks = recoverability.attacks(results)
  heads = ["model", *(f"{key} (Clean)" for key in attacks)]
  lines = [heads, ["---", *["---:"] * len(attacks)]]
  for row in rows:
    lines.append([md.escape(row["model"]), *attack_cells(row, rows[0], _pair)])
  ways = recoverability.better(results)
  aim = {"lower": "down to Clean's value", "equal": ADVICE["equal"]}
  legend = "".join(
    f"- `{key}`: {md.escape(label)}; {aim[ways[key]]}\n" for key, label in attacks.items()
  )
  return (
    "\n## Recoverability (attacks)\n\nHow much of the forgotten data an attacker gets back; in "
    f"parentheses, the distance to Clean.\n\n{md.table(lines)}\n{legend}"
  )


def attacked(rows: Sequence[Mapping]) -> bool:
  """Whether any model was attacked."""
  return any(value is not None for row in rows for value in row["recoverability"].values())


def attack_cells(row: Mapping, clean: Mapping, cell: Callable) -> list:
  """cell(value, distance to Clean's value) of every attack on a model."""
  values, bounds = row["recoverability"], clean["recoverability"]
  return [cell(value, distance_to_clean(value, bounds[key])) for key, value in values.items()]


def distance_to_clean(value: float | None, clean: float | None) -> float | None:
  """The distance of an attack's value to its value on Clean; None where either is missing."""
  return None if value is None or clean is None else value - clean


def _csv(rows):
  """One line per model, with numbers in full; a field that does not apply to a model is empty.

  Seed and steps apply to every model; for imported weights they are unknown, hence missing.
  """
  lines = []
  distances = (f"{key}_distance" for key in METRICS)
  about = ("model", "role", "method", "budget", "seed", "steps", "verdict", "strict_verdict")
  sides = (*SIDES, *STRICT_SIDES)
  lines.append([*about, *sides, *METRICS, *distances, *rows[0]["recoverability"]])
  for row in rows:
    about = [row[key] for key in ("model", "role", "method", "budget")]
    numbers = [
      *(row[key] for key in sides),
      *row["scores"].values(),
      *row["distances"].values(),
      *row["recoverability"].values(),
    ]
    applying = ["" if value is None else value for value in about]
    words = [row["verdict"], row["strict_verdict"]]
    numbers = [row["seed"], row["steps"], *words, *numbers]
    lines.append([*applying, *(MISSING if value is None else value for value in numbers)])
  return spreadsheet.csv_text(lines)
