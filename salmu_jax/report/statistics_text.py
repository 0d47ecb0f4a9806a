"""The statistics as Markdown: intervals, ranks, neighbours, and means over seeds."""

from collections.abc import Mapping

from salmu_jax.report import leaderboard
from salmu_jax.report import markdown as md
from salmu_jax.results.bootstrap import LEVEL, REPLICATES
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.results.shares import SIDES, order_in_words

FILES = ("statistics.md", "statistics.json")
_SURE = f"{LEVEL:.0%}"


def of_table(label: str, table: Mapping) -> str:
  """What `statistics.of_table` returns, as GitHub-flavoured Markdown.

  Args:
    label: the table's name. table: its statistics.
  """
  neighbours = [pair for pair in table["pairs"] if pair["real"]]
  heads = {side: SIDES[side].label for side in SIDES}
  parts = [
    f"# Statistics of {md.escape(label)}\n",
    f"{_SURE} bootstrap confidence intervals (CIs), {REPLICATES:,} replicates, resampled by person."
    "\n",
    _by_model(table["intervals"], {key: key for key in METRICS}, _ends),
    "## Shares\n",
    "Shares of the gap between Compromised and Clean; for GenKnow, of Compromised's value.\n",
    _by_model(table["shares"], heads, share) if table["shares"] else "None.\n",
    "## Ranks\n",
    f"Models are ordered by {order_in_words()}. *Significantly better than* holds for all pairs "
    f"jointly at {_SURE} (max-t). Parentheses: {_SURE} CIs of the rank.\n",
    _ranks(table["ranks"]) if table["ranks"] else "None: no judged model has rows to resample.\n",
    "## Differences between neighbours\n",
    "Each model minus the next one in the ranking, on the same rows. Only differences that are "
    "significant among all pairs of models are listed, metric by metric. Parentheses: "
    f"{_SURE} CIs.\n",
    _neighbours(neighbours) if neighbours else "None.\n",
  ]
  return "\n".join(parts)


def over_seeds(seeds: Mapping) -> str:
  """What `statistics.over_seeds` returns, as GitHub-flavoured Markdown."""
  keys = dict.fromkeys(key for numbers in seeds["models"].values() for key in numbers)
  named = ", ".join(map(str, seeds["seeds"]))
  return (
    f"# Mean over seeds {named}\n\nEach cell: the mean (minimum to maximum); then, where there are "
    f"rows to resample, its {_SURE} bootstrap CI, resampled by seed and person.\n\n"
    f"{_by_model(seeds['models'], {key: key for key in keys}, _over)}"
  )


def _by_model(models, heads, cell):
  """One line per model of {model: {key: value}}, one column per entry of {key: head}."""
  lines = [["model", *heads.values()], ["---", *["---:"] * len(heads)]]
  for model, values in models.items():
    lines.append([md.escape(model), *(cell(values.get(key)) for key in heads)])
  return md.table(lines)


def _ends(interval):
  return leaderboard.MISSING if interval is None else f"{interval[0]:z.3f} to {interval[1]:z.3f}"


def share(interval: Mapping | None) -> str:
  """A share with its interval, in percent; `interval` holds "value", "low" and "high"."""
  if interval is None:
    return leaderboard.MISSING
  value, low, high = (interval[key] for key in ("value", "low", "high"))
  return f"{value:z.1%}" if low is None else f"{value:z.1%} ({low:z.1%} to {high:z.1%})"


def _ranks(ranks):
  lines = [["rank", "model", "weakest share", "significantly better than"]]
  lines.append(["---:", "---", "---:", "---"])
  for row in ranks:
    span = f"{row['rank']} ({row['low']} to {row['high']})"
    better = ", ".join(map(md.escape, row["better_than"])) or "-"
    lines.append([span, md.escape(row["model"]), f"{row['weakest']:z.3f}", better])
  return md.table(lines)


def _neighbours(pairs):
  lines = [["metric", "model", "minus the next", "difference"], ["---", "---", "---", "---:"]]
  for pair in pairs:
    names = (md.escape(pair[key]) for key in ("model", "other"))
    difference = f"{pair['difference']:+z.3f} ({pair['low']:+z.3f} to {pair['high']:+z.3f})"
    lines.append([pair["metric"], *names, difference])
  return md.table(lines)


def _over(number):
  """The mean of a number over seeds, its range, and its interval."""
  if number is None:
    return leaderboard.MISSING
  mean, least, largest, low, high = (number[k] for k in ("mean", "min", "max", "low", "high"))
  text = f"{mean:z.3f} ({least:z.3f} to {largest:z.3f})"
  return text if low is None else f"{text}; {low:z.3f} to {high:z.3f}"
