"""The tables of the frontier of the strict verdict, from results/frontier-*.json."""

import functools

from experiments.anchored import tabulate, variants
from experiments.strict import alike, folds, frontier, robust
from salmu_jax.report import markdown as md
from salmu_jax.results import clauses
from salmu_jax.results.shares import SIDES, STRICT_SIDES, side_shares
from salmu_jax.runtime import files

# Clauses that the table of levers shows.
_SHOWN = (
  "leak_removed",
  "inter_kept",
  "intra_kept",
  "knowledge_kept",
  "inter_ret_kept",
  "intra_ret_kept",
  "inter_fact_kept",
  "intra_fact_kept",
  "FactLeak_own",
  "FactLeak_new",
  "Membership",
  "Relearning",
)
_KEPT = ("inter_kept", "intra_kept", "inter_ret_kept", "intra_ret_kept")


@functools.cache
def kept(name: str) -> dict:
  """What was kept of a study of the strict verdict."""
  return files.read_json(frontier.RESULTS / f"{name}.json")


def record(name: str) -> dict:
  """What was kept of a run of this study, by the name of its workdir."""
  return kept(f"frontier-{name}")


def _first() -> dict:
  return record(f"seed-{frontier.SEEDS[0]}")


def budgets() -> str:
  """The table of all budgets, on the first seed."""
  runs = _first()["runs"]
  return tabulate.clause_table({f"{b:g}x": [runs[frontier.at(b)]] for b in frontier.BUDGETS})


def levers() -> str:
  """The table of the run with one lever changed, beside the run itself."""
  runs, own = _first()["runs"], frontier.at(variants.COMPARED)
  return tabulate.runs_table({x: runs[x] for x in (own, *frontier.LEVERS)}, _SHOWN, asked=True)


def tokens() -> str:
  """The table of the budgets at which token embeddings alone move, on the first seed."""
  runs = _first()["runs"]
  made = {variants.COMPARED: runs[frontier.TOKENS]}
  made |= {b: runs[variants.at(b, frontier.TOKENS)] for b in frontier.TOKEN_BUDGETS}
  return tabulate.clause_table({f"{budget:g}x": [run] for budget, run in made.items()})


def in_folds() -> str:
  """The table of the runs by fold, beside the run that forgets all facts at once."""
  own = frontier.at(variants.COMPARED)
  runs = {f"{own}, all at once": _first()["runs"][own], **kept(folds.NAME)["runs"]}
  return tabulate.runs_table(runs, _SHOWN, asked=True)


def baselines() -> str:
  """The table of baselines with the optimizer and the batches of `anchored`, in the order of a
  leaderboard: by the weakest share.
  """
  runs = kept(alike.NAME)["runs"]
  weakest = lambda name: min(c["value"] for c in runs[name]["clauses"] if c["name"] in SIDES)
  words = lambda name: f"`{name}`, {runs[name]['settings']['optimizer']['learning_rate']:g}"
  return tabulate.runs_table(
    {words(name): runs[name] for name in sorted(runs, key=weakest, reverse=True)},
    _SHOWN,
    asked=True,
  )


def seeds() -> str:
  """The table of five seeds at 5x, with the least and the largest, of both targets."""
  made = [record(f"seed-{seed}")["runs"] for seed in frontier.SEEDS]
  heads = {"mismatched": variants.at(variants.COMPARED), "removed": frontier.at(variants.COMPARED)}
  return tabulate.clause_table(
    {head: [runs[label] for runs in made] for head, label in heads.items()}
  )


def pair() -> str:
  """The table of the other holdout unit."""
  run = record("pair-0")["runs"][frontier.at(variants.COMPARED)]
  return tabulate.clause_table({"unit `pair`, 5x": [run]})


def shares() -> str:
  """The table of the runs that forget a share of the facts."""
  first, sides = _first(), {name: (SIDES | STRICT_SIDES)[name] for name in _KEPT}
  bounds = [first[name]["scores"] for name in ("clean", "compromised")]
  heads = ["forgotten", "steps", "MRR of the quarter", "MRR of the others"]
  heads += [side.label for side in sides.values()]
  lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
  for label, run in first["runs"].items():
    if "leak" in run:
      kept = side_shares(sides, run["scores"], *bounds).values()
      leak = [f"{run['leak'][key]:.3f}" for key in ("part", "rest")]
      lines.append([label, str(run["steps"]), *leak, *(f"{share:.1%}" for share in kept)])
  return md.table(lines)


def everything() -> list[dict]:
  """{name of a clause: the clause} of all runs on the first seed that forget all and were judged by
  every clause: of this study, and of `anchored`, robustness, folds and baselines alike. A run that
  two studies made counts once.
  """
  others = (kept(name) for name in (f"robust-seed-{robust.SEED}", folds.NAME, alike.NAME))
  studies = [study["runs"].values() for study in (_first(), tabulate.seeds()[0], *others)]
  whole = [run["clauses"] for runs in studies for run in runs if "leak" not in run]
  distinct = {files.digest(clauses_): clauses_ for clauses_ in whole}
  return [{clause["name"]: clause for clause in clauses_} for clauses_ in distinct.values()]


def prices() -> str:
  """The table of clauses: how many runs hold each, and the most leak that one of them removed."""
  runs = everything()
  lines = [["clause", f"runs of {len(runs)} that hold it", "most leak removed by one that does"]]
  lines.append(["---", "---:", "---:"])
  for name, clause in runs[0].items():
    holding = [run for run in runs if run[name]["holds"]]
    most = max((run["leak_removed"]["value"] for run in holding), default=None)
    text = "" if most is None else clauses.number_of("leak_removed", most)
    lines.append([clause["label"], str(len(holding)), text])
  return md.table(lines)
