"""A heat map of where methods fail: every method by private field and caption style."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from salmu_jax.report import diagnoses, figures
from salmu_jax.report.look import INK

FILE = "breakdown.png"
# Share -> title of its panel, which shows 1 minus the share.
PANELS = (
  ("leak_removed", "Leakage left on forget, in % (0 = Clean, 100 = Compromised)"),
  ("inter_kept", "Similarity lost on other people's pairs, in % of the holdout gap"),
  ("intra_kept", "Similarity lost on the same people's kept pairs, in % of the holdout gap"),
)
# White: no harm.
_COLOURS = LinearSegmentedColormap.from_list("harm", ["#ffffff", "#f6c9a8", "#d55e00"])


def breakdown(models: Sequence[Mapping]) -> Figure:
  """A figure with one panel for each of PANELS: one row per model, one column per group.

  Args:
    models: what `diagnoses.diagnoses` returns.
  """
  models = [model for model in models if model["groups"]]
  columns = _columns(models)
  if not columns:
    return _nothing()
  figure = figures.blank_figure(1.2 + len(PANELS) * (0.75 + 0.24 * len(models)))
  panels = figure.subplots(len(PANELS), 1, sharex=True, squeeze=False)[:, 0]
  for panel, (key, title) in zip(panels, PANELS, strict=True):
    _draw(panel, models, columns, key, title)
  panels[-1].set_xticks(
    range(len(columns)), [label for _, label in columns], rotation=35, ha="right"
  )
  return figure


def _columns(models):
  """(kind, label) of each column, fields before styles."""
  groups = {(g["kind"], g["label"]): None for model in models for g in model["groups"]}
  return [group for kind in diagnoses.TABLED for group in groups if group[0] == kind]


def _draw(panel, models, columns, side, title):
  table = np.full((len(models), len(columns)), np.nan)
  for row, model in enumerate(models):
    values = {(g["kind"], g["label"]): g["shares"][side] for g in model["groups"]}
    for column, group in enumerate(columns):
      if values.get(group) is not None:
        table[row, column] = 1 - values[group]
  panel.imshow(np.clip(table, 0, 1), cmap=_COLOURS, vmin=0, vmax=1, aspect="auto")
  for (row, column), value in np.ndenumerate(table):
    text = "-" if np.isnan(value) else f"{100 * value:z.0f}"
    panel.text(column, row, text, ha="center", va="center", fontsize=7.5)
  panel.set_title(title)
  panel.set_yticks(range(len(models)), [figures.label(model["model"]) for model in models])
  panel.tick_params(length=0)
  panel.grid(False)
  fields = sum(kind == diagnoses.TABLED[0] for kind, _ in columns)
  panel.axvline(fields - 0.5, color=INK, linewidth=1.2)
  for spine in panel.spines.values():
    spine.set_visible(False)


def _nothing():
  figure = figures.blank_figure(1.5)
  figure.text(0.5, 0.5, "These results contain no breakdown by field and style.", ha="center")
  return figure
