"""Draws frontier.png: python -m experiments.anchored.picture

Left: the share of the leak that remains over the share of the holdouts' cosines that is lost.
Right: FactLeak_new over the share of the holdouts' retrieval that is lost.
"""

import pathlib

from matplotlib.figure import Figure

from experiments.anchored import tabulate
from experiments.baselines import tabulate as baselines
from salmu_jax.results.diagnosis import THRESHOLDS
from salmu_jax.results.shares import HOLDOUT_SHARES, SIDES, STRICT_SIDES, side_shares
from salmu_jax.runtime import files

PICTURE = pathlib.Path(__file__).parent / "frontier.png"
_FACT = "FactLeak_new"


def _lost(scores, bounds, what):
  """The share of the cosines or retrieval that is lost, of the holdout that loses more."""
  sides = {side: (SIDES | STRICT_SIDES)[side] for side in HOLDOUT_SHARES[what]}
  return 1 - min(side_shares(sides, scores, *bounds).values())


def cosine_place(scores: dict, bounds: tuple[dict, dict]) -> tuple[float, float]:
  """(share of the holdout gap in cosines lost, share of the leak left), clipped to the axes."""
  leak = side_shares({"": SIDES["leak_removed"]}, scores, *bounds)[""]
  return max(_lost(scores, bounds, "similarity"), 0.005), max(1 - leak, 3e-4)


def fact_place(scores: dict, bounds: tuple[dict, dict]) -> tuple[float, float]:
  """(share of the holdouts' retrieval lost, FactLeak_new)."""
  return _lost(scores, bounds, "retrieval"), scores[_FACT]


def draw() -> Figure:
  """The figure."""
  figure = Figure(figsize=(11, 4.6), layout="constrained")
  left, right = figure.subplots(1, 2)
  for axes, place in ((left, cosine_place), (right, fact_place)):
    _draw_baselines(axes, place)
    _draw_anchored(axes, place)
    axes.plot([], [], "o-", color="tab:red", label="anchored: by budget on seed 0, at 5x on others")
    axes.plot([], [], ".-", color="0.7", label="baselines, tuned: by budget, 1x to 10x")
  _frame_cosines(left)
  _frame_facts(right)
  figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
  return figure


def _frame_cosines(axes):
  passing = 1 - THRESHOLDS["holdout_kept"], 1 - THRESHOLDS["leak_removed"]
  axes.fill_between([0.004, passing[0]], 2e-4, passing[1], color="tab:green", alpha=0.25, lw=0)
  axes.text(0.0045, 0.0085, "target", color="tab:green", va="top")
  axes.set(
    xscale="log", yscale="log", xlim=(0.004, 4), ylim=(2e-4, 1.2), title="Captions and cosines"
  )
  axes.set(xlabel="holdout cosines lost (share of gap)", ylabel="remaining leak (share)")


def _frame_facts(axes):
  own = next(iter(tabulate.seeds()[0]["runs"].values()))
  limits = next(clause for clause in own["clauses"] if clause["name"] == _FACT)
  corner = -0.05, 1 - THRESHOLDS["holdout_kept"]
  axes.fill_between(corner, limits["least"], limits["most"], color="tab:green", alpha=0.25, lw=0)
  axes.axhspan(limits["least"], limits["most"], color="tab:green", alpha=0.1, lw=0)
  middle = (limits["least"] + limits["most"]) / 2
  axes.text(0.04, middle, " target", color="tab:green", va="center", ha="left")
  axes.text(0.2, middle, "Clean's interval", color="tab:green", va="center")
  axes.set(xlim=(-0.05, 1.05), title="Facts and retrieval")
  axes.set(xlabel="holdout retrieval lost (share of gap)", ylabel=f"{_FACT} (MRR)")


def _draw_baselines(axes, place):
  bounds = baselines.bounds()["clean"], baselines.bounds()["compromised"]
  for record in baselines.studies().values():
    if record["method"] != "anchored":
      runs = [run["scores"] for run in record["tuned"].values()]
      places = [place(scores, bounds) for scores in runs if baselines.verdict(scores)]
      axes.plot(*zip(*places, strict=True), ".-", color="0.7", lw=0.5, ms=4, zorder=1)


def _draw_anchored(axes, place):
  for record in tabulate.seeds():
    bounds = tuple(record[name]["scores"] for name in ("clean", "compromised"))
    labels = tabulate.budgets(record)
    places = [place(record["runs"][label]["scores"], bounds) for label in labels]
    axes.plot(*zip(*places, strict=True), "o-", color="tab:red", lw=1, ms=5, alpha=0.8)
    if len(labels) > 1:
      for text, at in zip(labels.values(), places, strict=True):
        axes.annotate(f"{text:g}x", at, xytext=(6, 4), textcoords="offset points", color="tab:red")


if __name__ == "__main__":
  with files.replacing(PICTURE) as temporary:
    draw().savefig(temporary, format="png", dpi=130, metadata={"Software": None})
