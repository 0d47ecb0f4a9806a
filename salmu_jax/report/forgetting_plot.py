"""The forgetting plot: leakage removed against holdout kept, one labelled point per model."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import TICKLEFT, TICKRIGHT
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

from salmu_jax.report.figures import DPI, blank_figure, label
from salmu_jax.report.look import CLEAN, COMPROMISED, FLOOR, INK, PALETTE, PASS, SOFT
from salmu_jax.results.diagnosis import THRESHOLDS
from salmu_jax.results.shares import HOLDOUT_SHARES, SIDES, STRICT_SIDES


def forgetting(
  rows: Sequence[Mapping],
  thresholds: Mapping[str, float] = THRESHOLDS,
  kept: str = "similarity",
) -> Figure:
  """Leakage removed against holdout kept, one labelled point per model.

  Args:
    rows: of the leaderboard. thresholds: of the verdicts.
    kept: a key of `shares.HOLDOUT_SHARES`.
  """
  figure = blank_figure(6.8)
  panel = figure.subplots()
  sides = HOLDOUT_SHARES[kept]
  shown = [row for row in rows if None not in (row["leak_removed"], *(row[s] for s in sides))]
  left = [100 * (1 - row["leak_removed"]) for row in shown]
  pairs = [tuple(100 * row[side] for side in sides) for row in shown]
  panel.set_xscale("symlog", linthresh=1, linscale=0.6)
  panel.set_xlim(max([100, *left]) * 1.6, min([-0.35, *(x * 1.3 - 0.35 for x in left)]))
  heights = [max(FLOOR, value) for pair in pairs for value in pair]
  panel.set_ylim(min([0, *heights]) - 12, max([100, *heights]) + 14)
  _axes(panel, kept)
  limits = {key: 100 * value for key, value in thresholds.items()}
  corner = 100 - limits["leak_removed"], limits["holdout_kept"]
  panel.fill_between(
    [corner[0], panel.get_xlim()[1]], corner[1], panel.get_ylim()[1], color=PASS, alpha=0.13, lw=0
  )
  panel.plot([0], [100], "*", color="#E69F00", markeredgecolor=INK, markersize=17, zorder=3)
  names = []
  for row, x, pair in zip(shown, left, pairs, strict=True):
    names.append(_point(panel, row, x, pair))
  names.append(("ideal", 0, 100, 100, 100))
  absent = [label(row["model"]) for row in rows if row not in shown]
  if absent:
    panel.text(
      0.01, 0.01, f"not shown, numbers missing: {', '.join(absent)}", transform=panel.transAxes
    )
  _key(figure, limits, [(SIDES | STRICT_SIDES)[side].metric for side in sides])
  figure.suptitle(
    "Forgetting vs. retention: the ideal is at the top right",
    x=0.01,
    ha="left",
  )
  _place(figure, panel, names)
  return figure


def _axes(panel, kept):
  low, high = sorted(panel.get_xlim())
  ticks = [t for t in (200, 100, 50, 20, 10, 5, 2, 1, 0, -1, -10, -100) if low <= t <= high]
  panel.set_xticks(ticks)
  panel.set_xticks([], minor=True)
  panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 - x:.0f}%"))
  panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0f}%"))
  panel.set_xlabel(
    "leakage removed (RetFail MRR; 0% = Compromised, 100% = Clean; log scale up to 99%)"
  )
  panel.set_ylabel(f"holdout {kept} kept (100% = Compromised, 0% = Clean)")


def _kind(row):
  """(marker, colour) of a model."""
  if row["role"] != "unlearned":
    return "s", CLEAN if row["role"] == "clean" else COMPROMISED
  if not row["failures"]:
    return "o", PASS
  return ("X", PALETTE[1]) if "catastrophic" in row["failures"] else ("D", PALETTE[0])


def _point(panel, row, x, pair):
  """Draws one model; returns its label, x, y, and the lowest and highest y drawn."""
  marker, colour = _kind(row)
  name, middle = label(row["model"]), sum(pair) / 2
  if middle < FLOOR:
    panel.plot([x], [FLOOR], "v", color=colour, markersize=10, zorder=4)
    return f"{name} ({middle:.0f}%)", x, FLOOR, FLOOR, FLOOR
  inter, intra = (max(FLOOR, value) for value in pair)
  panel.plot([x, x], [inter, intra], color=colour, linewidth=1.2, zorder=3)
  for at, tick in ((inter, TICKLEFT), (intra, TICKRIGHT)):
    panel.plot([x], [at], marker=tick, color=colour, markersize=11, markeredgewidth=1.6, zorder=3)
  panel.plot([x], [middle], marker, color=colour, markeredgecolor="white", markersize=9, zorder=4)
  return name, x, middle, min(inter, intra), max(inter, intra)


def _key(figure, limits, metrics):
  def point(marker, colour, text, size=9):
    return Line2D([], [], marker=marker, color=colour, linestyle="", markersize=size, label=text)

  handles = [
    point("o", PASS, "passes"),
    point("D", PALETTE[0], "ineffective or over-generalised"),
    point("X", PALETTE[1], "catastrophic: general knowledge lost"),
    Patch(
      color=PASS,
      alpha=0.2,
      label=f"at least {limits['leak_removed']:.0f}% removed, {limits['holdout_kept']:.0f}% kept",
    ),
    point(TICKLEFT, INK, f"other people ({metrics[0]})", 11),
    point(TICKRIGHT, INK, f"same people ({metrics[1]})", 11),
  ]
  figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)


def _place(figure, panel, names):
  """Places labels without overlap: at the first free spot on growing circles around a point."""
  figure.draw_without_rendering()
  frame, unit = panel.get_window_extent(), DPI / 72
  to_pixels = panel.transData.transform
  points = [to_pixels((x, y)) for _, x, y, _, _ in names]
  taken = []
  for _, x, _, low, high in names:
    (left, low), (right, high) = to_pixels((x, low)), to_pixels((x, high))
    taken.append(
      Bbox.from_extents(left - 12 * unit, low - 6 * unit, right + 12 * unit, high + 6 * unit)
    )
  for (name, x, y, _, _), point in zip(names, points, strict=True):
    text = panel.annotate(
      name, (x, y), (0, 0), textcoords="offset points", ha="center", va="center", fontsize=9,
      zorder=5,
    )  # fmt: skip
    text.set_in_layout(False)
    size = text.get_window_extent()
    offset, box = _free(point, size.width, size.height, taken, frame, unit)
    taken.append(box)
    text.set_position(offset)
    if math.hypot(*offset) > 30 + size.width / unit / 2:
      panel.annotate(
        "", (x, y), offset, textcoords="offset points", zorder=2,
        arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.6, "shrinkA": 6},
      )  # fmt: skip


def _free(point, width, height, taken, frame, unit):
  """The first offset (points) and box (pixels) around `point` that overlap `taken` least."""
  best = None
  for gap in (13, 20, 34, 50, 70, 95, 125):
    for angle in (0, 180, 90, -90, 45, -45, 135, -135, 22, -22, 158, -158, 67, -67, 113, -113):
      way = math.cos(math.radians(angle)), math.sin(math.radians(angle))
      centre = np.asarray(way) * (gap * unit + np.asarray([width, height]) / 2)
      left, low = point + centre - np.asarray([width, height]) / 2
      box = Bbox.from_bounds(left, low, width, height)
      inside = Bbox.intersection(box, frame)
      cut = width * height - (inside.width * inside.height if inside else 0)
      shared = [Bbox.intersection(box, other) for other in taken]
      cost = 10 * cut + sum(both.width * both.height for both in shared if both)
      if best is None or cost < best[0]:
        best = cost, tuple(centre / unit), box
      if cost == 0:
        return best[1:]
  return best[1:]
