"""Draws frontier.png: the picture of experiments/anchored with the runs of this study in it.

python -m experiments.strict.frontier_picture
"""

import pathlib

from matplotlib.figure import Figure

from experiments.anchored import picture
from experiments.strict import frontier, frontier_table
from salmu_jax.runtime import files

PICTURE = pathlib.Path(__file__).parent / "frontier.png"
_COLOUR = "tab:blue"
_LABELS = 'anchored, target="removed": by budget', "the same at 5x, one setting changed"


def draw() -> Figure:
  """The figure."""
  figure = picture.draw()
  for axes, place in zip(figure.axes, (picture.cosine_place, picture.fact_place), strict=True):
    _draw_runs(axes, place)
  figure.legends[0].remove()
  figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
  return figure


def _draw_runs(axes, place):
  record = frontier_table.record(f"seed-{frontier.SEEDS[0]}")
  bounds = tuple(record[name]["scores"] for name in ("clean", "compromised"))
  at = lambda label: place(record["runs"][label]["scores"], bounds)
  places = [at(frontier.at(budget)) for budget in frontier.BUDGETS]
  axes.plot(*zip(*places, strict=True), "o-", color=_COLOUR, lw=1, ms=5, label=_LABELS[0])
  for budget, where in list(zip(frontier.BUDGETS, places, strict=True))[:: len(places) - 1]:
    text = {"textcoords": "offset points", "ha": "right", "va": "center", "color": _COLOUR}
    axes.annotate(f"{budget:g}x", where, (-7, 0), **text)
  places = [at(label) for label in frontier.LEVERS]
  axes.plot(*zip(*places, strict=True), "^", color=_COLOUR, ms=5, mfc="none", label=_LABELS[1])


if __name__ == "__main__":
  with files.replacing(PICTURE) as temporary:
    draw().savefig(temporary, format="png", dpi=130, metadata={"Software": None})
