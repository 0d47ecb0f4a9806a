"""The study's tables, from results/*.json."""

import functools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.anchored import variants
from salmu_jax.report import markdown as md
from salmu_jax.results import clauses
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results"
# Clauses in the table of ablations; all would be too many columns.
_ABLATED = (
  "leak_removed",
  "FactLeak_new",
  "inter_kept",
  "intra_kept",
  "inter_ret_kept",
  "intra_ret_kept",
  "intra_fact_kept",
  "knowledge_kept",
  "Relearning",
)


@functools.cache
def records() -> dict[str, dict]:
  """{name: record}, in alphabetical order."""
  return {path.stem: files.read_json(path) for path in sorted(RESULTS.glob("*.json"))}


def seeds() -> list[dict]:
  """The records of the holdout unit `fact`, by seed."""
  return [record for name, record in records().items() if name.startswith("seed-")]


def budgets(record: Mapping) -> dict[str, float]:
  """{label: budget} of the runs of `anchored` itself, by ascending budget."""
  own = {label: run["settings"]["budget"] for label, run in record["runs"].items()}
  own = {label: budget for label, budget in own.items() if label == variants.at(budget)}
  return dict(sorted(own.items(), key=lambda item: item[1]))


def frontier() -> str:
  """The table of clauses by budget, on the first seed."""
  return _clauses({f"{budget:g}x": [label] for label, budget in budgets(seeds()[0]).items()})


def by_seed() -> str:
  """The table of clauses by seed, at the budget that all seeds ran."""
  label = _compared()
  return clause_table({f"seed {r['seed']}": [r["runs"][label]] for r in seeds()})


def _compared(name: str = "anchored") -> str:
  """The label of a method's run at the budget of comparisons."""
  return variants.at(variants.COMPARED, name)


def strongest() -> str:
  """The table of `anchored` and the strongest baselines, over seeds."""
  first, own = seeds()[0]["runs"], _compared()
  labels = [own, *(label for label in first if label.split()[0] in variants.STRONGEST)]
  whole = [label for label in labels if all(label in record["runs"] for record in seeds())]
  return clause_table({f"`{x}`": [record["runs"][x] for record in seeds()] for x in whole})


def _clauses(columns):
  """`clause_table` of runs on the first seed, from {head: labels}."""
  first = seeds()[0]["runs"]
  return clause_table({head: [first[x] for x in labels] for head, labels in columns.items()})


def clause_table(columns: Mapping[str, Sequence[Mapping]]) -> str:
  """A row for each clause of the strict verdict: what it requires, and what runs reach.

  Args:
    columns: {head: runs}; a column shows their mean, lowest and highest number.
  """
  runs = [run for column in columns.values() for run in column]
  lines = [["clause", "required", *columns], ["---", "---", *["---:"] * len(columns)]]
  for at, clause in enumerate(runs[0]["clauses"]):
    limits = [run["clauses"][at] for run in runs]
    cells = [_cell([run["clauses"][at] for run in column]) for column in columns.values()]
    lines.append([clause["label"], _required(limits), *cells])
  count = f"of {len(runs[0]['clauses'])}"
  counts = [", ".join(str(held(run["clauses"])) for run in column) for column in columns.values()]
  return md.table([*lines, ["*clauses that hold*", count, *counts]])


def held(made: Sequence[Mapping]) -> int:
  """How many clauses of a run hold."""
  return sum(clause["holds"] is True for clause in made)


def _required(clauses_):
  """What a clause requires, in words. Limits from Clean differ by seed; their means are shown."""
  name = clauses_[0]["name"]
  mean = lambda side: float(np.mean([clause[side] for clause in clauses_]))
  least, most = clauses_[0]["least"], clauses_[0]["most"]
  if most is None:
    return f"at least {clauses.number_of(name, least)}"
  if least is None:
    return f"at most {clauses.number_of(name, mean('most'))}"
  return f"{clauses.number_of(name, mean('least'))} to {clauses.number_of(name, mean('most'))}"


def runs_table(runs: Mapping[str, Mapping], shown: Sequence[str], asked: bool = False) -> str:
  """A row for each run: its numbers in some clauses of the strict verdict, and how many hold.

  Args:
    runs: {label: run}.
    shown: names of clauses.
    asked: whether the first row states what the clauses require.
  """
  first = {clause["name"]: clause for clause in next(iter(runs.values()))["clauses"]}
  heads = [*(first[name]["label"] for name in shown), "clauses that hold"]
  lines = [["", *heads], ["---", *["---:"] * len(heads)]]
  if asked:
    lines.append(["*required*", *(_required([first[name]]) for name in shown), f"of {len(first)}"])
  for label, run in runs.items():
    made = {clause["name"]: clause for clause in run["clauses"]}
    lines.append([label, *(_cell([made[name]]) for name in shown), str(held(run["clauses"]))])
  return md.table(lines)


def _cell(made):
  """The mean of a clause's numbers, in bold where all hold."""
  name, values = made[0]["name"], [clause["value"] for clause in made]
  text = clauses.number_of(name, float(np.mean(values)))
  if len(values) > 1:
    ends = " to ".join(clauses.number_of(name, end) for end in (min(values), max(values)))
    text += f" ({ends})"
  return f"**{text}**" if all(clause["holds"] for clause in made) else text


def ablations() -> str:
  """The table of ablations and controls, below the method itself at the same budget."""
  runs = seeds()[0]["runs"]
  controls = map(variants.with_its_optimizer, variants.STRONGEST)
  labels = [label for label in (*variants.ABLATIONS, *controls) if label in runs]
  return runs_table({label: runs[label] for label in (_compared(), *labels)}, _ABLATED)


def reworded() -> str:
  """The table of the method with and without reworded captions."""
  return _clauses({f"`{_compared()}`": [_compared()], "reworded": [_compared("reworded")]})


def attacks() -> str:
  """The table of attacks, with a row for each variant of an attack that has several."""
  first = seeds()[0]
  models = {name: first[name] for name in ("clean", "compromised")}
  models |= {label: first["runs"][label] for label in (_compared(), _compared("reworded"))}
  lines = [["attack", *models], ["---", *["---:"] * len(models)]]
  for key, entry in first["clean"]["attacks"].items():
    attack = [model["attacks"][key] for model in models.values()]
    lines.append([f"**{key}**", *(f"{one['value']:.3f}" for one in attack)])
    parts = entry["parts"] if len(entry["parts"]) > 1 else ()
    lines += [[part, *(f"{one['parts'][part]:.3f}" for one in attack)] for part in parts]
  return md.table(lines)


def pair() -> str:
  """The table of all runs with the holdout unit `pair`."""
  record = records()["pair-0"]
  return clause_table({f"{b:g}x": [record["runs"][x]] for x, b in budgets(record).items()})
