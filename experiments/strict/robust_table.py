"""The table of defences against relearning, from results/robust-seed-0.json."""

from experiments.anchored import tabulate
from experiments.strict import robust
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
  """A row for the unchanged method and for each defence."""
  kept = files.read_json(robust.RESULTS / f"robust-seed-{robust.SEED}.json")["runs"]
  return tabulate.runs_table({label: kept[label] for label in robust.WAYS}, _SHOWN, asked=True)
