"""The table of the study of robustness to relearning, from results/robust-seed-0.json."""

import math

from experiments.strict import robust
from salmu_jax.report import markdown as md
from salmu_jax.results import clauses
from salmu_jax.runtime import files

# Clauses of the strict verdict that the table shows.
_SHOWN = (
  "leak_removed",
  "inter_kept",
  "intra_kept",
  "knowledge_kept",
  "inter_ret_kept",
  "intra_ret_kept",
  "FactLeak_new",
  "Membership",
  "Relearning",
)


def section() -> str:
  """A row for each way to be robust, beside the method as it is."""
  record = files.read_json(robust.RESULTS / f"robust-seed-{robust.SEED}.json")
  first = {clause["name"]: clause for clause in record["runs"]["plain"]["clauses"]}
  heads = [*(first[name]["label"] for name in _SHOWN), "clauses that hold"]
  asked = ["*asked*", *(_asked(first[name]) for name in _SHOWN), f"of {len(first)}"]
  lines = [["", *heads], ["---", *["---:"] * len(heads)], asked]
  for label in robust.WAYS:
    made = {clause["name"]: clause for clause in record["runs"][label]["clauses"]}
    held = sum(clause["holds"] is True for clause in made.values())
    lines.append([label, *(_cell(made[name]) for name in _SHOWN), str(held)])
  return md.table(lines)


def _asked(clause):
  """The limits of a clause, in as few words as fit a cell."""
  ends = [clause[side] for side in ("least", "most")]
  number = lambda end: clauses.number_of(clause["name"], end)
  if None not in ends:
    return " to ".join(map(number, ends))
  return f"≤ {number(ends[1])}" if ends[0] is None else f"≥ {number(ends[0])}"


def _cell(clause):
  """A clause's number, in bold where it holds."""
  value = math.nan if clause["value"] is None else clause["value"]
  text = clauses.number_of(clause["name"], value)
  return f"**{text}**" if clause["holds"] else text
