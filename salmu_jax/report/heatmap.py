"""One picture of where methods fail: every method by private field and caption style."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from salmu_jax.report import figures
from salmu_jax.report.look import INK

FILE = "breakdown.png"
# Share -> what is drawn of it: what it lacks to 1.
PANELS = (
  ("leak_removed", "Leakage left on forget (0 % is Clean's, 100 % Compromised's)"),
  ("inter_kept", "Similarity lost of other people's pairs, share of the holdout gap"),
  ("intra_kept", "Similarity lost of the same people's kept pairs, share of the holdout gap"),
)
_KINDS = ("field", "style")
# White is as it should be.
_COLOURS = LinearSegmentedColormap.from_list("harm", ["#ffffff", "#f6c9a8", "#d55e00"])


def breakdown(found):
  """A figure of one panel for each of PANELS: a row for each model, a column for each group.

  Args:
    found: what `diagnoses.diagnoses` returns.
  """
  found = [each for each in found if each["groups"]]
  columns = _columns(found)
  if not columns:
    return _nothing()
  figure = figures.blank_figure(1.2 + len(PANELS) * (0.75 + 0.24 * len(found)))
  panels = figure.subplots(len(PANELS), 1, sharex=True, squeeze=False)[:, 0]
  for panel, (key, title) in zip(panels, PANELS, strict=True):
    _draw(panel, found, columns, key, title)
  panels[-1].set_xticks(
    range(len(columns)), [label for _, label in columns], rotation=35, ha="right"
  )
  return figure


def _columns(found):
  seen = {(g["kind"], g["label"]): None for each in found for g in each["groups"]}
  return [group for kind in _KINDS for group in seen if group[0] == kind]


def _draw(panel, found, columns, key, title):
  table = np.full((len(found), len(columns)), np.nan)
  for row, each in enumerate(found):
    values = {(g["kind"], g["label"]): g["shares"][key] for g in each["groups"]}
    for column, group in enumerate(columns):
      if values.get(group) is not None:
        table[row, column] = 1 - values[group]
  panel.imshow(np.clip(table, 0, 1), cmap=_COLOURS, vmin=0, vmax=1, aspect="auto")
  for (row, column), value in np.ndenumerate(table):
    text = "-" if np.isnan(value) else f"{100 * value:z.0f}"
    panel.text(column, row, text, ha="center", va="center", fontsize=7.5)
  panel.set_title(title)
  panel.set_yticks(range(len(found)), [figures.label(each["model"]) for each in found])
  panel.tick_params(length=0)
  panel.grid(False)
  fields = sum(kind == _KINDS[0] for kind, _ in columns)
  panel.axvline(fields - 0.5, color=INK, linewidth=1.2)
  for side in panel.spines.values():
    side.set_visible(False)


def _nothing():
  figure = figures.blank_figure(1.5)
  figure.text(0.5, 0.5, "These results hold no breakdown by field and style.", ha="center")
  return figure
