"""Figures with matplotlib's object API, without global state: same results, same bytes."""

import functools
from collections.abc import Callable

import matplotlib
from matplotlib import font_manager, ft2font
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from salmu_jax.report.look import GRID, INK, SOFT
from salmu_jax.runtime import files
from salmu_jax.runtime.places import Place

DPI = 150
WIDTH = 10.0  # inches

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


def save(make: Callable[[], Figure], path: Place) -> Place:
  """Writes the figure that `make` returns, in the style of all plots; returns the path."""
  with matplotlib.rc_context():
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(STYLE)
    with files.replacing(path) as temporary:
      make().savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
  return path


def blank_figure(height: float) -> Figure:
  """A blank figure, WIDTH x `height` inches."""
  figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
  FigureCanvasAgg(figure)
  return figure


@functools.cache
def _font():
  return ft2font.FT2Font(font_manager.findfont("DejaVu Sans"))


def label(name: str, width: int = 26) -> str:
  """A name for plots: one line, at most `width` characters, `?` for unknown glyphs."""
  name = " ".join(name.split())
  name = "".join(c if _font().get_char_index(ord(c)) else "?" for c in name)
  return name if len(name) <= width else name[: width - 3] + "..."
