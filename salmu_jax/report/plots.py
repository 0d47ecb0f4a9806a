"""Plots of results: forgetting vs. retention, similarities, training curves.

Figures use matplotlib's object API without global state, so the same results give the same bytes.
"""

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from salmu_jax.report import histograms
from salmu_jax.report.figures import blank_figure, label, save
from salmu_jax.report.forgetting_plot import forgetting
from salmu_jax.report.look import CLEAN, COMPROMISED, INK, PALETTE, SOFT
from salmu_jax.results.diagnosis import THRESHOLDS
from salmu_jax.results.metrics_table import plotted
from salmu_jax.runtime import places
from salmu_jax.runtime.places import Place

FILES = ("forgetting.png", "forgetting_retrieval.png", "similarity.png", "training.png")
LOOKS = (  # Clean, Compromised, a method
  {"fill": True, "fc": "#b5b5b5", "ec": "none", "lw": 0},
  {"fill": True, "fc": "#00000014", "ec": COMPROMISED, "lw": 0.8},
  {"color": PALETTE[0], "lw": 1.6},
)


def draw(
  results: Sequence[Mapping],
  rows: Sequence[Mapping],
  out_dir: str | os.PathLike,
  thresholds: Mapping[str, float] = THRESHOLDS,
) -> list[Place]:
  """Writes FILES.

  Args:
    results: results as `results.reading.read_results` returns them.
    rows: the leaderboard's rows of the same models.
    out_dir: folder of the plots.
    thresholds: of the verdicts, see `diagnosis.THRESHOLDS`.

  Returns:
    The paths.
  """
  order = [row["model"] for row in rows]
  results = sorted(results, key=lambda result: order.index(result["salmu_jax"]["model"]))
  makers = (
    lambda: forgetting(rows, thresholds),
    lambda: forgetting(rows, thresholds, "retrieval"),
    lambda: similarity(results),
    lambda: training(results),
  )
  return [
    save(make, places.place(out_dir) / name) for name, make in zip(FILES, makers, strict=True)
  ]


def similarity(results: Sequence[Mapping]) -> Figure:
  """One panel per split, one line per method, over the distributions of Clean and Compromised."""
  references, methods = _by_role(results)
  figure = blank_figure(1.9 + 0.62 * max(len(methods), 1))
  panels = figure.subplots(1, len(plotted()), sharex=True, sharey=True)
  bins = histograms.edges(results)
  for panel, metric in zip(panels, plotted().values(), strict=True):
    size = max(histograms.row_scores(r, metric).size for r in results)
    title = "\n".join(histograms.title(metric))
    panel.set_title(f"{title}\nn = {size:,}", fontsize=9)
    panel.set_xlabel("cosine", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.xaxis.set_major_locator(MaxNLocator(4))
    tallest = max(_share(r, metric, bins).max() for r in references) or 1.0
    for line, method in enumerate(methods or [None]):
      for result, look in (
        (references[0], LOOKS[0]),
        (references[1], LOOKS[1]),
        (method, LOOKS[2]),
      ):
        if result is not None and histograms.row_scores(result, metric).size:
          height = np.minimum(0.75 * _share(result, metric, bins) / tallest, 0.95)
          panel.stairs(height - line, bins, baseline=-line, **look)
    panel.set_xlim(bins[0], bins[-1])
    panel.grid(False, axis="y")
  names = [label(r["salmu_jax"]["model"], 22) for r in methods] or ["no method yet"]
  panels[0].set_yticks([0.25 - line for line in range(len(names))], names, color=INK)
  panels[0].set_ylim(-len(names) + 0.9, 1)
  for panel in panels:
    panel.tick_params(axis="y", length=0)
  handles = [Patch(**LOOKS[at], label=label(references[at]["salmu_jax"]["model"])) for at in (0, 1)]
  handles.append(Line2D([], [], color=PALETTE[0], label="the method named on the left"))
  figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
  figure.suptitle(
    "Image-caption similarity by split; only forget should move (height: share of rows)",
    x=0.01,
    ha="left",
  )
  return figure


def _by_role(results):
  """([Clean, Compromised], [methods])."""
  references = [r for r in results if r["salmu_jax"]["role"] != "unlearned"]
  return references, [r for r in results if r["salmu_jax"]["role"] == "unlearned"]


def _share(result, metric, bins):
  """The share of a split's similarities in each bin."""
  counts = histograms.counts(result, metric, bins)
  return counts / max(counts.sum(), 1)


def training(results: Sequence[Mapping]) -> Figure:
  """Loss and accuracy of Clean and Compromised, then forget and retain loss of every method."""
  references, methods = _by_role(results)
  columns = 3 if len(methods) in (1, 2, 3, 5, 6) else 4
  lines = math.ceil(len(methods) / columns)
  figure = blank_figure(3.0 + 2.5 * lines)
  grid = figure.add_gridspec(1 + lines, 1, height_ratios=[2.6] + [2.5] * lines, hspace=0.08)
  top = grid[0].subgridspec(1, 2)
  for at, (key, title) in enumerate((("loss", "Training loss"), ("accuracy", "Batch accuracy"))):
    panel = figure.add_subplot(top[at])
    panel.set_title(f"{title} of Clean and Compromised")
    panel.set_xlabel("training step")
    for result, colour in zip(references, (CLEAN, COMPROMISED), strict=True):
      _curve(panel, result, key, colour, label(result["salmu_jax"]["model"]))
    if panel.lines:
      panel.legend(loc="best")
  for at, result in enumerate(methods):
    if at % columns == 0:
      line = grid[1 + at // columns].subgridspec(1, columns)
    _method_panel(line[at % columns], result)
  figure.suptitle(
    "Training curves of Clean and Compromised, then losses of every method", x=0.01, ha="left"
  )
  return figure


def _method_panel(slot, result):
  upper, lower = slot.subgridspec(2, 1, hspace=0.02).subplots(sharex=True)
  upper.set_title(label(result["salmu_jax"]["model"]), fontsize=10)
  for panel, key, colour in ((upper, "forget", PALETTE[1]), (lower, "retain", PALETTE[0])):
    _curve(panel, result, f"{key}_loss", colour)
    panel.set_ylabel(key, color=colour)
    panel.tick_params(labelsize=8)
  upper.tick_params(labelbottom=False)
  lower.tick_params(labelbottom=bool(upper.lines or lower.lines))
  lower.set_xlabel("unlearning step", fontsize=9)


def _curve(panel, result, key, colour, name=None):
  """Draws one curve, with gaps for NaN, or a note that the results contain none."""
  points = [(p["step"], p[key]) for p in result["salmu_jax"]["curve"] if key in p]
  steps = np.asarray([step for step, _ in points], np.float64)
  values = np.asarray([math.nan if v is None else v for _, v in points], np.float64)
  if np.isfinite(values).any():
    alone = np.isfinite(values).sum() == 1
    panel.plot(steps, values, color=colour, label=name, marker="o" if alone else None)
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(3 if name is None else 5))
  elif not panel.texts:
    panel.text(0.5, 0.5, f"no {key} recorded", transform=panel.transAxes, ha="center", color=SOFT)
    panel.set_yticks([])
