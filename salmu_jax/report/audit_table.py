"""The report on own pairs: numbers before and after unlearning, in Markdown and on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from salmu_jax.report import markdown as md
from salmu_jax.runtime import files
from salmu_jax.runtime.places import Place

FILES = ("audit.md", "audit.json")
# Number -> its description.
ABOUT = {
  "RetFail_MRR": "how well a forget picture still retrieves its caption (MRR)",
  "RetFail_R@1": "share of forget pictures that rank their caption first",
  "AssocStr": "cosine of the forget pairs",
  "FactLeak_own": "how well the true value ranks among others in the pair's own caption (MRR)",
  "FactLeak_new": "the same in a held-out wording, with the name (MRR)",
  "FactLeak_nameless": "the same in a held-out wording, without the name (MRR)",
  "Retain_MRR": "how well a retain picture retrieves its caption (MRR)",
  "RetainSim": "cosine of the retain pairs",
  "GenKnow": "general knowledge: zero-shot accuracy",
}


def rows(audits: Sequence[Mapping[str, Any]]) -> list[list[str]]:
  """[number, description, better direction, chance, one cell per model]; heads first."""
  heads = ["before", *(audit["model"] for audit in audits[1:])]
  lines = [["", "description", "better", "chance", *heads]]
  for name, number in audits[0]["numbers"].items():
    cells = [_cell(audit["numbers"].get(name)) for audit in audits]
    chance = "" if number["chance"] is None else f"{number['chance']:.3f}"
    lines.append([name, ABOUT[name], number["better"], chance, *cells])
  for name, attack in audits[0]["recoverability"].items():
    cells = [_cell(audit["recoverability"].get(name)) for audit in audits]
    lines.append([name, f"{attack['label']} (attack)", attack["better"], "", *cells])
  return lines


def _cell(number: Mapping[str, Any] | None) -> str:
  """A number with its interval, or the reason why an attack was not run."""
  if number is None or number["value"] is None:
    return (number or {}).get("why", "")
  interval = number.get("interval")
  sure = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
  return f"{number['value']:.3f}{sure}"


def terminal(audits: Sequence[Mapping[str, Any]]) -> Table:
  """The table for a terminal, without the descriptions."""
  short = lambda cell: cell.replace(" (", "\n(")  # the interval below its number
  heads, *lines = ([line[0], *map(short, line[2:])] for line in rows(audits))
  table = Table(title="audit", title_justify="left")
  for head in heads:
    table.add_column(head, overflow="fold")
  for line in lines:
    table.add_row(*line)
  return table


def write(
  folder: Place, audits: Sequence[Mapping[str, Any]], missing: Sequence[str], looked_at: str
) -> None:
  """Writes FILES.

  Args:
    folder: the workdir. audits: of the model before unlearning, then after each method.
    missing: a sentence for each number that is not measured, with the reason.
    looked_at: a sentence on how many pairs were measured.
  """
  heads, *cells = [[md.escape(cell) for cell in line] for line in rows(audits)]
  aligned = ["---", "---", "---", "---:", *["---:"] * len(audits)]
  budgets = "; ".join(
    f"{md.escape(audit['model'])} at {audit['budget']:g}x" for audit in audits[1:]
  )
  text = [
    "# Before and after unlearning\n",
    f"{looked_at}\n",
    md.table([heads, aligned, *cells]),
    "Parentheses: 95% bootstrap confidence intervals, resampled by person. *Chance* is the value "
    "of a model that knows nothing of the pairs. A model that never saw them may score above "
    "chance, since captions fit pictures in general; this report cannot say by how much.\n",
    f"Unlearned: {budgets} (1x is one pass over the pairs to forget).\n" if budgets else "",
    "Not measured:\n",
    *(f"- {md.escape(line)}" for line in missing),
    "",
  ]
  files.write_text(folder / FILES[0], "\n".join(text))
  files.write_json(folder / FILES[1], {"models": list(audits), "not_measured": list(missing)})
