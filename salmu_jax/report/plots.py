"""Three plots from results: forgetting against preservation, similarities, training curves.

Figures are made with matplotlib's object API and no global state, and the same results give the
same bytes.
"""

import functools
import math
import pathlib

import matplotlib
import numpy as np
from matplotlib import font_manager, ft2font
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import TICKLEFT, TICKRIGHT
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox

from salmu_jax.results.diagnosis import THRESHOLDS
from salmu_jax.runtime import files

FILES = ("forgetting.png", "similarity.png", "training.png")
DPI = 150
WIDTH = 10.0  # inches

# Okabe and Ito's colours, which colour-blind readers can tell apart, without their yellow (too
# pale for a line on white) and grey (the Clean model has it).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, SOFT, GRID = "#222222", "#666666", "#dddddd"
CLEAN, COMPROMISED, PASS = "#8c8c8c", "#000000", "#009E73"
FLOOR = -100  # percent of the holdout gap; what lies below is drawn there, with its number

STYLE = {
  "font.family": "DejaVu Sans",
  "font.size": 10,
  "axes.titlesize": 11,
  "axes.titlelocation": "left",
  "axes.edgecolor": SOFT,
  "axes.labelcolor": INK,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.grid": True,
  "axes.axisbelow": True,
  "grid.color": GRID,
  "grid.linewidth": 0.7,
  "xtick.color": SOFT,
  "ytick.color": SOFT,
  "text.color": INK,
  "text.parse_math": False,
  "lines.linewidth": 1.6,
  "legend.frameon": False,
}

SPLITS = (
  ("forget\nshould fall to Clean", ("efficacy", "1.2_AssocStr")),
  ("holdout_identity\nshould stay", ("utility", "2.2_InterIdSim")),
  ("holdout_association\nshould stay", ("utility", "2.3_IntraIdSim")),
  ("retain_joint\nshould stay", ("utility", "2.4_VisIdInt")),
  ("fragile_set\nshould stay", ("utility", "2.5_FragSim")),
)
CURVES = ("loss", "accuracy", "forget_loss", "retain_loss")
LOOKS = (  # Clean, Compromised, a method
  {"fill": True, "fc": "#b5b5b5", "ec": "none", "lw": 0},
  {"fill": True, "fc": "#00000014", "ec": COMPROMISED, "lw": 0.8},
  {"color": PALETTE[0], "lw": 1.6},
)


def draw(results, rows, out_dir, thresholds=THRESHOLDS):
  """Writes forgetting.png, similarity.png and training.png.

  Args:
    results: results as `results.read_results` returns them.
    rows: the leaderboard's rows of the same models.
    out_dir: folder of the plots.
    thresholds: of the verdicts, see `diagnosis.THRESHOLDS`.

  Returns:
    The three paths.
  """
  order = [row["model"] for row in rows]
  results = sorted(results, key=lambda result: order.index(result["salmu_jax"]["model"]))
  makers = (
    lambda: forgetting(rows, thresholds),
    lambda: similarity(results),
    lambda: training(results),
  )
  return [
    save(make, pathlib.Path(out_dir) / name) for name, make in zip(FILES, makers, strict=True)
  ]


def save(make, path):
  """Writes the figure that `make` makes, in the style of all plots; returns the path."""
  with matplotlib.rc_context():
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(STYLE)
    with files.replacing(path) as temporary:
      make().savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
  return path


def blank_figure(height):
  figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
  FigureCanvasAgg(figure)
  return figure


@functools.cache
def _font():
  return ft2font.FT2Font(font_manager.findfont("DejaVu Sans"))


def label(name, width=26):
  """A name as the plots can show it: one line, at most `width` long, `?` for unknown glyphs."""
  name = " ".join(name.split())
  name = "".join(c if _font().get_char_index(ord(c)) else "?" for c in name)
  return name if len(name) <= width else name[: width - 3] + "..."


def similarity(results):
  """One panel a split, one line a method, each over the distributions of the two references."""
  references, methods = _by_role(results)
  figure = blank_figure(1.9 + 0.62 * max(len(methods), 1))
  panels = figure.subplots(1, len(SPLITS), sharex=True, sharey=True)
  bins = edges(results)
  for panel, (title, path) in zip(panels, SPLITS, strict=True):
    size = max(row_scores(r, path).size for r in results)
    panel.set_title(f"{title}\nn = {size:,}", fontsize=9)
    panel.set_xlabel("cosine", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.xaxis.set_major_locator(MaxNLocator(4))
    tallest = max(_share(r, path, bins).max() for r in references) or 1.0
    for line, method in enumerate(methods or [None]):
      for result, look in (
        (references[0], LOOKS[0]),
        (references[1], LOOKS[1]),
        (method, LOOKS[2]),
      ):
        if result is not None and row_scores(result, path).size:
          height = np.minimum(0.75 * _share(result, path, bins) / tallest, 0.95)
          panel.stairs(height - line, bins, baseline=-line, **look)
    panel.set_xlim(bins[0], bins[-1])
    panel.grid(False, axis="y")
  names = [label(r["salmu_jax"]["model"], 22) for r in methods] or ["no method yet"]
  panels[0].set_yticks([0.25 - line for line in range(len(names))], names, color=INK)
  panels[0].set_ylim(-len(names) + 0.9, 1)
  for panel in panels:
    panel.tick_params(axis="y", length=0)
  handles = [Patch(**LOOKS[at], label=label(references[at]["salmu_jax"]["model"])) for at in (0, 1)]
  handles.append(Line2D([], [], color=PALETTE[0], label="the method named at the left"))
  figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
  figure.suptitle(
    "Did only the forget split move? Similarity of image and caption (height: share of rows)",
    x=0.01,
    ha="left",
  )
  return figure


def _by_role(results):
  """([Clean, Compromised], [methods])."""
  references = [r for r in results if r["salmu_jax"]["role"] != "unlearned"]
  return references, [r for r in results if r["salmu_jax"]["role"] == "unlearned"]


def _share(result, path, edges):
  """The share of a split's scores in each bin."""
  scores = row_scores(result, path)
  return np.histogram(scores, edges)[0] / max(scores.size, 1)


def row_scores(result, path):
  """The scores of one split (N,), without those that are missing."""
  pillar, metric = path
  scores = np.asarray(result[pillar][metric]["scores"], np.float64)
  return scores[np.isfinite(scores)]


def edges(results):
  """Bin edges for all panels, as wide as the smallest reference split can fill."""
  everything = [row_scores(result, path) for result in results for _, path in SPLITS]
  filled = [each for each in everything if each.size]
  if not filled:
    return np.linspace(-1, 1, 21)
  low, high = min(each.min() for each in filled), max(each.max() for each in filled)
  smallest = min(filled, key=len)
  # Freedman and Diaconis' width, 2 IQR / cube root of n.
  width = 2 * float(np.subtract(*np.quantile(smallest, [0.75, 0.25]))) / smallest.size ** (1 / 3)
  bins = math.ceil((high - low) / width) if width > 0 else 20
  return np.linspace(low, max(high, low + 1e-6), min(max(bins, 20), 100) + 1)


def training(results):
  """Loss and accuracy of the two references, then the forget and retain loss of every method."""
  references, methods = _by_role(results)
  columns = 3 if len(methods) in (1, 2, 3, 5, 6) else 4
  lines = math.ceil(len(methods) / columns)
  figure = blank_figure(3.0 + 2.5 * lines)
  grid = figure.add_gridspec(1 + lines, 1, height_ratios=[2.6] + [2.5] * lines, hspace=0.08)
  top = grid[0].subgridspec(1, 2)
  for at, (key, title) in enumerate((("loss", "Training loss"), ("accuracy", "Batch accuracy"))):
    panel = figure.add_subplot(top[at])
    panel.set_title(f"{title} of the two reference models")
    panel.set_xlabel("training step")
    for result, colour in zip(references, (CLEAN, COMPROMISED), strict=True):
      _curve(panel, result, key, colour, label(result["salmu_jax"]["model"]))
    if panel.lines:
      panel.legend(loc="best")
  for at, result in enumerate(methods):
    if at % columns == 0:
      line = grid[1 + at // columns].subgridspec(1, columns)
    _method_panel(line[at % columns], result)
  figure.suptitle("How training went, and what every method did to its losses", x=0.01, ha="left")
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
  """Draws one curve, or says that the results hold none; what is not a number is a gap."""
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


def forgetting(rows, thresholds=THRESHOLDS):
  """Leakage removed against holdout kept, one labelled point a model."""
  figure = blank_figure(6.8)
  panel = figure.subplots()
  shown = [row for row in rows if row["leakage_reduction"] is not None]
  left = [100 * (1 - row["leakage_reduction"]) for row in shown]
  kept = [(100 * row["inter_kept"], 100 * row["intra_kept"]) for row in shown]
  panel.set_xscale("symlog", linthresh=1, linscale=0.6)
  panel.set_xlim(max([100, *left]) * 1.6, min([-0.35, *(x * 1.3 - 0.35 for x in left)]))
  heights = [max(FLOOR, value) for pair in kept for value in pair]
  panel.set_ylim(min([0, *heights]) - 12, max([100, *heights]) + 14)
  _axes(panel)
  limits = {key: 100 * value for key, value in thresholds.items()}
  corner = 100 - limits["leakage_reduction"], 100 - limits["holdout_gap_lost"]
  panel.fill_between(
    [corner[0], panel.get_xlim()[1]], corner[1], panel.get_ylim()[1], color=PASS, alpha=0.13, lw=0
  )
  panel.plot([0], [100], "*", color="#E69F00", markeredgecolor=INK, markersize=17, zorder=3)
  names = []
  for row, x, pair in zip(shown, left, kept, strict=True):
    names.append(_point(panel, row, x, pair))
  names.append(("ideal", 0, 100, 100, 100))
  absent = [label(row["model"]) for row in rows if row not in shown]
  if absent:
    panel.text(
      0.01, 0.01, f"not shown, numbers missing: {', '.join(absent)}", transform=panel.transAxes
    )
  _key(figure, limits)
  figure.suptitle(
    "Forgetting what was asked, keeping what was not: the ideal is at the top right",
    x=0.01,
    ha="left",
  )
  _place(figure, panel, names)
  return figure


def _axes(panel):
  low, high = sorted(panel.get_xlim())
  ticks = [t for t in (200, 100, 50, 20, 10, 5, 2, 1, 0, -1, -10, -100) if low <= t <= high]
  panel.set_xticks(ticks)
  panel.set_xticks([], minor=True)
  panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 - x:.0f} %"))
  panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0f} %"))
  panel.set_xlabel(
    "leakage removed (RetFail MRR; 0 % = Compromised, 100 % = Clean; log scale up to 99 %)"
  )
  panel.set_ylabel("holdout similarity kept (100 % = Compromised, 0 % = Clean)")


def _kind(row):
  """(marker, colour) of a model."""
  if row["role"] != "unlearned":
    return "s", CLEAN if row["role"] == "clean" else COMPROMISED
  if not row["failures"]:
    return "o", PASS
  return ("X", PALETTE[1]) if "catastrophic" in row["failures"] else ("D", PALETTE[0])


def _point(panel, row, x, pair):
  """Draws one model; returns its label, place (x, y) and the lowest and highest thing drawn."""
  marker, colour = _kind(row)
  name, middle = label(row["model"]), sum(pair) / 2
  if middle < FLOOR:
    panel.plot([x], [FLOOR], "v", color=colour, markersize=10, zorder=4)
    return f"{name} ({middle:.0f} %)", x, FLOOR, FLOOR, FLOOR
  inter, intra = (max(FLOOR, value) for value in pair)
  panel.plot([x, x], [inter, intra], color=colour, linewidth=1.2, zorder=3)
  for at, tick in ((inter, TICKLEFT), (intra, TICKRIGHT)):
    panel.plot([x], [at], marker=tick, color=colour, markersize=11, markeredgewidth=1.6, zorder=3)
  panel.plot([x], [middle], marker, color=colour, markeredgecolor="white", markersize=9, zorder=4)
  return name, x, middle, min(inter, intra), max(inter, intra)


def _key(figure, limits):
  def point(marker, colour, text, size=9):
    return Line2D([], [], marker=marker, color=colour, linestyle="", markersize=size, label=text)

  handles = [
    point("o", PASS, "passes"),
    point("D", PALETTE[0], "ineffective or over-generalised"),
    point("X", PALETTE[1], "catastrophic: general knowledge lost"),
    Patch(
      color=PASS,
      alpha=0.2,
      label=f"at least {limits['leakage_reduction']:.0f} % removed, "
      f"{100 - limits['holdout_gap_lost']:.0f} % kept",
    ),
    point(TICKLEFT, INK, "other people (InterIdSim)", 11),
    point(TICKRIGHT, INK, "same people (IntraIdSim)", 11),
  ]
  figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)


def _place(figure, panel, names):
  """Labels points without overlap: the first free place on growing circles around each point."""
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
  """The first offset (points) and box (pixels) around `point` that meet the least of `taken`."""
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
