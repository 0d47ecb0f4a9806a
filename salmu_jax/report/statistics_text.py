"""The statistics as Markdown: intervals, ranks, neighbours, and what seeds say."""

from salmu_jax.report import leaderboard
from salmu_jax.report import markdown as md
from salmu_jax.report.bootstrap import LEVEL, REPLICATES
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.results.shares import SIDES

FILES = ("statistics.md", "statistics.json")
_SURE = f"{LEVEL:.0%}"


def of_table(label, found):
  """What `statistics.of_table` returns, as GitHub-flavoured Markdown.

  Args:
    label: of the table.
  """
  neighbours = [pair for pair in found["pairs"] if pair["real"]]
  heads = {side: SIDES[side].label for side in SIDES}
  parts = [
    f"# Statistics of {md.escape(label)}\n",
    f"{_SURE} intervals, by {REPLICATES:,} bootstrap draws of people with all their rows.\n",
    _by_model(found["intervals"], {key: key for key in METRICS}, _ends),
    "## Shares\n",
    "Of the gap between Compromised and Clean; of GenKnow, of Compromised's.\n",
    _by_model(found["shares"], heads, share) if found["shares"] else "None.\n",
    "## Ranks\n",
    "By the weakest side: the least of leak removed, GenKnow kept, InterIdSim kept and IntraIdSim "
    f"kept. *Really better than* holds for all pairs together at {_SURE} (max-t); in brackets, "
    f"{_SURE} intervals of the rank.\n",
    _ranks(found["ranks"]) if found["ranks"] else "None: no judged model has rows to draw from.\n",
    "## Neighbours\n",
    "Differences between models next to one another in that order, on the same rows, where they "
    f"are real among all pairs of models, metric by metric; in brackets, {_SURE} intervals.\n",
    _neighbours(neighbours) if neighbours else "None.\n",
  ]
  return "\n".join(parts)


def over_seeds(found):
  """What `statistics.over_seeds` returns, as GitHub-flavoured Markdown."""
  keys = dict.fromkeys(key for numbers in found["models"].values() for key in numbers)
  seeds = ", ".join(map(str, found["seeds"]))
  return (
    f"# Over seeds {seeds}\n\nThe mean; in brackets the least and the largest; then the {_SURE} "
    "interval of the mean, seeds and people drawn, where there are rows to draw from.\n\n"
    f"{_by_model(found['models'], {key: key for key in keys}, _over)}"
  )


def _by_model(found, heads, cell):
  """A line for each model of {model: {key: value}}, a column for each of {key: head}."""
  lines = [["model", *heads.values()], ["---", *["---:"] * len(heads)]]
  for model, each in found.items():
    lines.append([md.escape(model), *(cell(each.get(key)) for key in heads)])
  return md.table(lines)


def _ends(interval):
  return leaderboard.MISSING if interval is None else f"{interval[0]:z.3f} to {interval[1]:z.3f}"


def share(each):
  """A share with its interval, in percent."""
  if each is None:
    return leaderboard.MISSING
  value = f"{each['value']:z.1%}"
  return value if each["low"] is None else f"{value} ({each['low']:z.1%} to {each['high']:z.1%})"


def _ranks(found):
  lines = [["rank", "model", "weakest side", "really better than"], ["---:", "---", "---:", "---"]]
  for row in found:
    span = f"{row['rank']} ({row['low']} to {row['high']})"
    better = ", ".join(map(md.escape, row["better_than"])) or "-"
    lines.append([span, md.escape(row["model"]), f"{row['weakest']:z.3f}", better])
  return md.table(lines)


def _neighbours(found):
  lines = [["metric", "model", "less the next", "difference"], ["---", "---", "---", "---:"]]
  for pair in found:
    names = (md.escape(pair[key]) for key in ("model", "other"))
    difference = f"{pair['difference']:+z.3f} ({pair['low']:+z.3f} to {pair['high']:+z.3f})"
    lines.append([pair["metric"], *names, difference])
  return md.table(lines)


def _over(each):
  if each is None:
    return leaderboard.MISSING
  text = f"{each['mean']:z.3f} ({each['min']:z.3f} to {each['max']:z.3f})"
  return text if each["low"] is None else f"{text}; {each['low']:z.3f} to {each['high']:z.3f}"
