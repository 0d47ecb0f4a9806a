"""The study's tables, from results/*.json."""

import pathlib

from experiments.anchored import intervals, variants
from salmu_jax.report import markdown as md
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results"
_SHOWN = (
  "leak removed",
  "AssocStr",
  "Inter lost",
  "Intra lost",
  "GenKnow lost",
  "VisIdInt",
  "FragSim",
)
_NOT_YET = "Not run yet.\n"
_ATTACKED = ("clean", "anchored", "reworded", "compromised")
_PERCENT = ("leak removed", "Inter lost", "Intra lost", "GenKnow lost")


def records():
  """{name: what the study found}, in order."""
  return {path.stem: files.read_json(path) for path in sorted(RESULTS.glob("*.json"))}


def _seeds():
  return [found for name, found in records().items() if name.startswith("seed-")]


def shares(record, label):
  """`intervals.shares` of a run."""
  bounds = (record[name]["scores"] for name in ("clean", "compromised"))
  return intervals.shares(record["runs"][label]["scores"], *bounds)


def _cell(key, value):
  return f"{value:.1%}" if key in _PERCENT else f"{value:+.3f}"


def frontier():
  """Every budget, over the seeds that ran it."""
  labels = sorted(
    {label for r in _seeds() for label in r["runs"] if is_frontier(label)}, key=budget
  )
  return _means({label: f"{budget(label):g}x" for label in labels})


def _means(heads):
  """A table of means over seeds; heads {label of a run: head of its row}."""
  lines = [["", "seeds", *_SHOWN, "clauses failed by the mean", "seeds that pass"]]
  lines.append(["---", "---:", *["---:"] * len(_SHOWN), "---", "---:"])
  return md.table([*lines, *(_over_seeds(label, head) for label, head in heads.items())])


def is_frontier(label):
  """Whether a run is of the method as it is."""
  return label.startswith("anchored ")


def budget(label):
  """Of a run of the method as it is."""
  return float(label.split()[1].rstrip("x"))


def _over_seeds(label, head):
  there = [record for record in _seeds() if label in record["runs"]]
  each = [shares(record, label) for record in there]
  average, spread = intervals.mean(each), intervals.interval(there, label)
  cells = []
  for key in _SHOWN:
    text = _cell(key, average[key])
    if key in spread:
      text += " ({} to {})".format(*(_cell(key, x) for x in spread[key]))
    else:
      values = [one[key] for one in each]
      text += f" ({_cell(key, min(values))} to {_cell(key, max(values))})"
    cells.append(text)
  passing = sum(not intervals.clauses(one) for one in each)
  failed = ", ".join(intervals.clauses(average)) or "none"
  return [head, str(len(there)), *cells, failed, f"{passing} of {len(there)}"]


def by_seed():
  """Every seed at the budget that most of them ran, the larger one of two."""
  ran = [label for record in _seeds() for label in record["runs"] if is_frontier(label)]
  label = max(ran, key=lambda one: (ran.count(one), budget(one)))
  rows = [(f"seed {r['seed']}", r, label) for r in _seeds() if label in r["runs"]]
  return _alone(f"at {budget(label):g}x", rows)


def _alone(corner, rows):
  """A table of single runs, from (head, record, label)."""
  lines = [[corner, *_SHOWN, "clauses failed"], ["---", *["---:"] * len(_SHOWN), "---"]]
  for head, record, label in rows:
    found = shares(record, label)
    failed = ", ".join(intervals.clauses(found)) or "none"
    lines.append([head, *(_cell(k, found[k]) for k in _SHOWN), failed])
  return md.table(lines)


def baselines():
  """The strongest baselines on every seed."""
  labels = sorted(
    {label for r in _seeds() for label in r["runs"] if label.endswith(" 5x")} - {"anchored 5x"}
  )
  if not labels:
    return _NOT_YET
  return _means({label: f"`{label.split()[0]}` at 5x" for label in labels})


def ablations():
  """One part exchanged, at one budget, beside the whole."""
  record = records()["seed-0"]
  whole = next(iter(variants.ABLATIONS))
  spent = record["runs"][whole]["settings"]["budget"]
  named = [(f"as it is, {spent:g}x", f"anchored {spent:g}x")]
  named += [(label, label) for label in record["runs"] if label in variants.ABLATIONS]
  named += [
    (label, label) for label in record["runs"] if label.endswith("its batches and optimizer")
  ]
  lines = [["", *_SHOWN], ["---", *["---:"] * len(_SHOWN)]]
  for head, label in named:
    found = shares(record, label)
    lines.append([head, *(_cell(k, found[k]) for k in _SHOWN)])
  return md.table(lines)


def reworded():
  """The method on loosened words, beside the method as it is."""
  record = records()["seed-0"]
  labels = [label for label in record["runs"] if label.startswith("reworded ")]
  if not labels:
    return _NOT_YET
  shown = [each for one in labels for each in (one.replace("reworded", "anchored"), one)]
  return _alone("seed 0", [(label, record, label) for label in shown])


def asked():
  """What brings it back, beside the bounds."""
  record = records()["seed-0"]
  attacks = {name: record["attacks"][name] for name in _ATTACKED if name in record["attacks"]}
  heads = [f"{name}, {part}" for part in ("forget", "kept") for name in attacks]
  lines = [["MRR", *heads], ["---", *["---:"] * len(heads)]]
  for question in attacks["anchored"]["asked"]:
    cells = [
      f"{found['asked'][question][part]['MRR']:.3f}"
      for part in ("forget", "kept")
      for found in attacks.values()
    ]
    lines.append([question, *cells])
  return md.table(lines)


def relearned():
  """MRR on the rest of forget by steps of learning 5 % of it again."""
  attacks = records()["seed-0"]["attacks"]
  steps = list(attacks["anchored"]["relearned"])
  lines = [["steps", *steps], ["---", *["---:"] * len(steps)]]
  for name in (name for name in _ATTACKED if name in attacks):
    lines.append([name, *(f"{attacks[name]['relearned'][step]:.3f}" for step in steps)])
  return md.table(lines)


def pair():
  """The same where the holdout unit is the pair."""
  if "pair-0" not in records():
    return _NOT_YET
  record = records()["pair-0"]
  return _alone("unit `pair`", [(label, record, label) for label in record["runs"]])
