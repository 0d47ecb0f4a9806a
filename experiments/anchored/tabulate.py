"""The study's tables, from results/*.json."""

import functools
import pathlib
from collections.abc import Iterable

from experiments.anchored import intervals, variants
from salmu_jax.report import markdown as md
from salmu_jax.results.shares import SIDES
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results"
_SHARES = tuple(side.label for side in SIDES.values())
_SHOWN = (*_SHARES, "AssocStr", "VisIdInt", "FragSim")
_NOT_YET = "Not run yet.\n"
_ATTACKED = ("clean", "anchored", "reworded", "compromised")


@functools.cache
def records() -> dict[str, dict]:
  """{name: record}, in alphabetical order."""
  return {path.stem: files.read_json(path) for path in sorted(RESULTS.glob("*.json"))}


def _seeds():
  return [record for name, record in records().items() if name.startswith("seed-")]


def shares(record: dict, label: str) -> dict[str, float]:
  """`intervals.shares` of a run."""
  bounds = (record[name]["scores"] for name in ("clean", "compromised"))
  return intervals.shares(record["runs"][label]["scores"], *bounds)


def _cell(key, value):
  return f"{value:.1%}" if key in _SHARES else f"{value:+.3f}"


def frontier() -> str:
  """The table of all budgets, each over the seeds that ran it."""
  labels = sorted(
    {label for r in _seeds() for label in r["runs"] if is_frontier(label)}, key=budget
  )
  return _means({label: f"{budget(label):g}x" for label in labels})


def _means(heads: dict[str, str]) -> str:
  """A table of means over seeds; heads {label of a run: head of its row}."""
  lines = [["", "seeds", *_SHOWN, "clauses failed by the mean", "seeds that pass"]]
  lines.append(["---", "---:", *["---:"] * len(_SHOWN), "---", "---:"])
  return md.table([*lines, *(_over_seeds(label, head) for label, head in heads.items())])


def is_frontier(label: str) -> bool:
  """Whether a run is of the method without a change."""
  return label.startswith("anchored ")


def budget(label: str) -> float:
  """The budget of a run of the frontier, from its label."""
  return float(label.split()[1].rstrip("x"))


def _over_seeds(label, head):
  """A row of `_means`: the mean of a run over seeds, its spread and the clauses that it fails."""
  seeds = [record for record in _seeds() if label in record["runs"]]
  by_seed = [shares(record, label) for record in seeds]
  average, spread = intervals.mean(by_seed), intervals.interval(seeds, label)
  cells = []
  for key in _SHOWN:
    values = [seed[key] for seed in by_seed]
    low, high = spread[key] if key in spread else (min(values), max(values))
    cells.append(f"{_cell(key, average[key])} ({_cell(key, low)} to {_cell(key, high)})")
  passing = sum(not intervals.clauses(seed) for seed in by_seed)
  failed = ", ".join(intervals.clauses(average)) or "none"
  return [head, str(len(seeds)), *cells, failed, f"{passing} of {len(seeds)}"]


def by_seed() -> str:
  """The table of seeds at the budget that most of them ran, the largest of several."""
  labels = [label for record in _seeds() for label in record["runs"] if is_frontier(label)]
  label = max(labels, key=lambda label: (labels.count(label), budget(label)))
  rows = [(f"seed {r['seed']}", r, label) for r in _seeds() if label in r["runs"]]
  return _single_runs(f"at {budget(label):g}x", rows)


def _single_runs(corner: str, rows: Iterable[tuple]) -> str:
  """A table of single runs, from (head, record, label)."""
  lines = [[corner, *_SHOWN, "clauses failed"], ["---", *["---:"] * len(_SHOWN), "---"]]
  for head, record, label in rows:
    failed = ", ".join(intervals.clauses(shares(record, label))) or "none"
    lines.append([head, *_cells(record, label), failed])
  return md.table(lines)


def _cells(record, label):
  values = shares(record, label)
  return [_cell(key, values[key]) for key in _SHOWN]


def baselines() -> str:
  """The table of the strongest baselines, over seeds."""
  labels = sorted(
    {label for r in _seeds() for label in r["runs"] if label.endswith(" 5x")} - {"anchored 5x"}
  )
  if not labels:
    return _NOT_YET
  return _means({label: f"`{label.split()[0]}` at 5x" for label in labels})


def ablations() -> str:
  """The table of ablations and controls, with the method itself at the same budget."""
  record = records()["seed-0"]
  runs = record["runs"]
  ablated = runs[next(iter(variants.ABLATIONS))]["settings"]["budget"]
  labels = [label for label in runs if label in variants.ABLATIONS]
  labels += [label for label in runs if label.endswith("its batches and optimizer")]
  lines = [["", *_SHOWN], ["---", *["---:"] * len(_SHOWN)]]
  lines.append([f"as it is, {ablated:g}x", *_cells(record, f"anchored {ablated:g}x")])
  return md.table([*lines, *([label, *_cells(record, label)] for label in labels)])


def reworded() -> str:
  """The table of the method on reworded captions, with the method itself at the same budgets."""
  record = records()["seed-0"]
  labels = [label for label in record["runs"] if label.startswith("reworded ")]
  if not labels:
    return _NOT_YET
  pairs = [(label.replace("reworded", "anchored"), label) for label in labels]
  return _single_runs("seed 0", [(label, record, label) for pair in pairs for label in pair])


def questions() -> str:
  """The table of questions: MRR of forgotten and of kept facts, with the bounds."""
  record = records()["seed-0"]
  attacks = {name: record["attacks"][name] for name in _ATTACKED if name in record["attacks"]}
  heads = [f"{name}, {part}" for part in ("forget", "kept") for name in attacks]
  lines = [["MRR", *heads], ["---", *["---:"] * len(heads)]]
  for question in attacks["anchored"]["asked"]:
    cells = [
      f"{attack['asked'][question][part]['MRR']:.3f}"
      for part in ("forget", "kept")
      for attack in attacks.values()
    ]
    lines.append([question, *cells])
  return md.table(lines)


def relearned() -> str:
  """The table of relearning: MRR on the rest of forget by steps of training on 5 % of it."""
  attacks = records()["seed-0"]["attacks"]
  steps = list(attacks["anchored"]["relearned"])
  lines = [["steps", *steps], ["---", *["---:"] * len(steps)]]
  for name in (name for name in _ATTACKED if name in attacks):
    lines.append([name, *(f"{attacks[name]['relearned'][step]:.3f}" for step in steps)])
  return md.table(lines)


def pair() -> str:
  """The table of all runs with the holdout unit `pair`."""
  if "pair-0" not in records():
    return _NOT_YET
  record = records()["pair-0"]
  return _single_runs("unit `pair`", [(label, record, label) for label in record["runs"]])
