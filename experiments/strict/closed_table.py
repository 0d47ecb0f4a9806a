"""The tables of closed-form edits, from the results of `closed`, `goals` and `capacity`."""

from collections.abc import Mapping

from experiments.anchored import tabulate
from experiments.strict import capacity, closed
from salmu_jax.report import markdown as md
from salmu_jax.results import clauses
from salmu_jax.runtime import files

_LEVELS = (0.5, 0.75, 0.9, 0.95)  # of the leak
# Shown for edits that were not attacked: shares of clauses, and scores.
_SHARES = {
  "leak_removed": "leak removed",
  "inter_kept": "InterIdSim kept",
  "intra_kept": "IntraIdSim kept",
  "knowledge_kept": "GenKnow kept",
  "inter_ret_kept": "InterIdRet_MRR kept",
  "intra_ret_kept": "IntraIdRet_MRR kept",
}
_SCORES = ("FactLeak_own", "FactLeak_new")


def attacked() -> str:
  """The table of clauses of the attacked edits and of runs of `anchored`."""
  runs = files.read_json(closed.RESULTS)["judged"]
  first = tabulate.seeds()[0]["runs"]
  shown = ("anchored 5x", "component removed")
  columns = {label: [run] for label, run in runs.items()}
  return tabulate.clause_table({**columns, **{label: [first[label]] for label in shown}})


def swept() -> str:
  """The table of the edits that keep the most, for each minimum of leak removed.

  What an edit keeps is the smallest of its shares, except leak removed.
  """
  heads = ["leak removed, minimum", "edit", "goal", *_SHARES.values(), *_SCORES]
  lines = [heads, ["---:", "---", "---", *["---:"] * (len(heads) - 3)]]
  for level in _LEVELS:
    enough = [run for run in _runs() if run[2]["shares"]["leak_removed"] >= level]
    goal, label, run = max(enough, key=lambda found: _kept(found[2]))
    shares = [clauses.number_of(name, run["shares"][name]) for name in _SHARES]
    scores = [f"{run['scores'][name]:.3f}" for name in _SCORES]
    lines.append([f"{level:.0%}", label, goal, *shares, *scores])
  return md.table(lines)


def _runs() -> list[tuple[str, str, dict]]:
  """(goal, label, run) of all edits."""
  paths = sorted(closed.RESULTS.parent.glob(f"goal-*-seed-{closed.SEED}.json"))
  goals = {
    path.stem.removesuffix(f"-seed-{closed.SEED}").removeprefix("goal-"): path for path in paths
  }
  tables = {"component removed": closed.RESULTS, **goals}
  return [
    (goal.replace("-", " "), label, run)
    for goal, path in tables.items()
    for label, run in files.read_json(path)["runs"].items()
  ]


def _kept(run: Mapping) -> float:
  return min(share for name, share in run["shares"].items() if name != "leak_removed")


def room() -> str:
  """The table of what an edit with random keys leaves unwritten and moves, at weight 1."""
  curves = [c for c in files.read_json(capacity.RESULTS)["curves"] if c["weight"] == 1]
  facts = [f"{count:g}" for count in capacity.FACTS]
  lines = [["captions per hidden unit", *facts], ["---", *["---:"] * len(facts)]]
  for curve in curves:
    name = f"{curve['preset']} ({curve['hidden']} hidden units)"
    lines.append([f"{name}: values not written", *(f"{x:.2f}" for x in curve["residual"])])
    lines.append([f"{name}: kept outputs moved", *(f"{x:.2f}" for x in curve["kept_change"])])
  return md.table(lines)
