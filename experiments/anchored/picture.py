"""Draws frontier.png: the leak that each method leaves against the holdouts that it loses.

python -m experiments.anchored.picture
"""

import pathlib

from matplotlib.figure import Figure

from experiments.anchored import intervals, tabulate
from experiments.baselines import tabulate as baselines
from salmu_jax.results.diagnosis import THRESHOLDS
from salmu_jax.results.shares import SIDES
from salmu_jax.runtime import files

PICTURE = pathlib.Path(__file__).parent / "frontier.png"


def _place(shares):
  """(holdout gap lost, leak left) as shares, at least as large as a logarithmic axis shows."""
  lost = 1 - min(*(shares[SIDES[side].label] for side in ("inter_kept", "intra_kept")))
  return max(lost, 0.005), max(1 - shares[SIDES["leak_removed"].label], 3e-4)


def draw() -> Figure:
  """The figure."""
  figure = Figure(figsize=(7.5, 5), layout="constrained")
  axes = figure.add_subplot()
  _draw_baselines(axes)
  _draw_anchored(axes)
  passing = 1 - THRESHOLDS["holdout_kept"], 1 - THRESHOLDS["leak_removed"]
  axes.fill_between([0.004, passing[0]], 2e-4, passing[1], color="tab:green", alpha=0.15, lw=0)
  axes.text(0.0045, 0.0085, "passes", color="tab:green", va="top")
  axes.plot([], [], "o-", color="tab:red", label="anchored, each seed")
  axes.plot([], [], ".-", color="0.7", label="baselines, tuned, 1x to 10x, seed 0")
  axes.set(xscale="log", yscale="log", xlim=(0.004, 4), ylim=(2e-4, 1.2))
  axes.set(
    xlabel="share of the holdout gap lost (the larger of the two)", ylabel="share of the leak left"
  )
  axes.legend(loc="lower right")
  return figure


def _draw_baselines(axes):
  bounds = baselines.bounds()
  for record in baselines.studies().values():
    if record["method"] == "anchored":
      continue
    scores = [run["scores"] for run in record["tuned"].values()]
    places = [_place(intervals.shares(s, bounds["clean"], bounds["compromised"])) for s in scores]
    axes.plot(*zip(*places, strict=True), ".-", color="0.7", lw=0.5, ms=4, zorder=1)


def _draw_anchored(axes):
  for name, record in tabulate.records().items():
    labels = sorted(filter(tabulate.is_frontier, record["runs"]), key=tabulate.budget)
    if not name.startswith("seed-"):
      continue
    places = [_place(tabulate.shares(record, label)) for label in labels]
    axes.plot(*zip(*places, strict=True), "o-", color="tab:red", lw=1, ms=5, alpha=0.8)
    if name == "seed-0":
      for label, place in zip(labels, places, strict=True):
        text = f"{tabulate.budget(label):g}x"
        axes.annotate(text, place, xytext=(6, 4), textcoords="offset points", color="tab:red")


if __name__ == "__main__":
  with files.replacing(PICTURE) as temporary:
    draw().savefig(temporary, format="png", dpi=130, metadata={"Software": None})
