"""The report on own pairs: a table of numbers before and after, in Markdown and on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from salmu_jax.report import markdown as md
from salmu_jax.runtime import files
from salmu_jax.runtime.places import Place

FILES = ("audit.md", "audit.json")
# Number -> what it is.
ABOUT = {
  "RetFail_MRR": "how well a picture to forget still finds its caption (MRR)",
  "RetFail_R@1": "share of pictures to forget whose caption comes first",
  "AssocStr": "cosine of the pairs to forget",
  "FactLeak_own": "how well the true value is told from others in the pair's own caption (MRR)",
  "FactLeak_new": "the same in new words, with the name (MRR)",
  "FactLeak_nameless": "the same in new words, without the name (MRR)",
  "Retain_MRR": "how well a picture to keep finds its caption (MRR)",
  "RetainSim": "cosine of the pairs to keep",
  "GenKnow": "general knowledge, zero-shot accuracy",
}


def rows(audits: Sequence[Mapping[str, Any]]) -> list[list[str]]:
  """[number, what it is, which way is better, a guess, a cell a model]; heads first."""
  heads = ["before", *(audit["model"] for audit in audits[1:])]
  lines = [["", "what it is", "better", "a guess", *heads]]
  for name, number in audits[0]["numbers"].items():
    cells = [_cell(audit["numbers"].get(name)) for audit in audits]
    chance = "" if number["chance"] is None else f"{number['chance']:.3f}"
    lines.append([name, ABOUT[name], number["better"], chance, *cells])
  for name, attack in audits[0]["recoverability"].items():
    cells = [_cell(audit["recoverability"].get(name)) for audit in audits]
    lines.append([name, f"{attack['label']} (attack)", attack["better"], "", *cells])
  return lines


def _cell(number: Mapping[str, Any] | None) -> str:
  """A number with its interval; the reason where an attack had nothing to attack."""
  if number is None or number["value"] is None:
    return (number or {}).get("why", "")
  interval = number.get("interval")
  sure = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
  return f"{number['value']:.3f}{sure}"


def terminal(audits: Sequence[Mapping[str, Any]]) -> Table:
  """The table for a terminal, without what the numbers are."""
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
    folder: the workdir. audits: of the model before, then after each method.
    missing: what is not measured, and why; a sentence each.
    looked_at: how many pairs the numbers are of.
  """
  heads, *cells = [[md.escape(cell) for cell in line] for line in rows(audits)]
  aligned = ["---", "---", "---", "---:", *["---:"] * len(audits)]
  budgets = "; ".join(
    f"{md.escape(audit['model'])} at {audit['budget']:g}x" for audit in audits[1:]
  )
  text = [
    "# Before and after\n",
    f"{looked_at}\n",
    md.table([heads, aligned, *cells]),
    "Brackets are 95 % bootstrap intervals; people are drawn again with all their pairs. *A guess* "
    "is what a model gives that knows nothing of the pairs. A model that never saw them may be "
    "above that, as captions fit pictures in general, and nothing here says by how much.\n",
    f"Unlearned: {budgets} (1x is one pass over the pairs to forget).\n" if budgets else "",
    "Not measured:\n",
    *(f"- {md.escape(line)}" for line in missing),
    "",
  ]
  files.write_text(folder / FILES[0], "\n".join(text))
  files.write_json(folder / FILES[1], {"models": list(audits), "not_measured": list(missing)})
