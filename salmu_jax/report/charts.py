"""The page's charts as Vega-Lite specifications; page_charts.js fills in data and colours.

Colours that differ between the light and the dark theme are parameters, named as in THEMES.
"""

from collections.abc import Mapping, Sequence

import altair as alt

from salmu_jax.report import look
from salmu_jax.results.shares import HOLDOUT_SHARES

THEMES = {
  "light": {
    "ink": look.INK,
    "soft": "#5c6066",
    "grid": "#e4e6ea",
    "paper": "#ffffff",
    "clean": look.CLEAN,
    "compromised": look.COMPROMISED,
  },
  "dark": {
    "ink": "#e7e5e0",
    "soft": "#a4aab3",
    "grid": "#30353d",
    "paper": "#15171b",
    "clean": "#8c8c8c",
    "compromised": "#ffffff",
  },
}
KINDS = ("Clean", "Compromised", "passes", "ineffective or over-generalised", "catastrophic")
DASHES = ([1, 0], [6, 2], [2, 2], [8, 2, 2, 2], [4, 4], [1, 3])  # one per colour of PALETTE
SLOTS = len(DASHES)  # methods that one chart can distinguish
_STAR = (
  "M0,-1L0.23,-0.32L0.95,-0.31L0.38,0.12L0.59,0.81L0,0.4L-0.59,0.81L-0.38,0.12L-0.95,-0.31"
  "L-0.23,-0.32Z"
)
# Titles of two lines, to fit a phone.
_REMOVED = ["leakage removed (log scale up to 99%)", "0% = Compromised, 100% = Clean"]
_KEPT = "100% = Compromised, 0% = Clean"


def config(theme: str) -> dict:
  """The Vega-Lite config in the colours of one of THEMES."""
  colours = THEMES[theme]
  font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
  return {
    "background": None,
    "font": font,
    "view": {"stroke": None},
    "axis": {
      "labelColor": colours["soft"],
      "titleColor": colours["soft"],
      "gridColor": colours["grid"],
      "domainColor": colours["soft"],
      "tickColor": colours["soft"],
      "titleFontWeight": "normal",
      "labelFontSize": 12,
      "titleFontSize": 12,
      "titlePadding": 8,
    },
    "legend": {"labelColor": colours["ink"], "labelFontSize": 12, "labelLimit": 260},
    "text": {"color": colours["ink"], "fontSize": 12},
  }


def forgetting(
  rows: Sequence[Mapping], thresholds: Mapping[str, float], kept: str = "similarity"
) -> dict:
  """Leakage removed against holdout kept, one point per model, as in forgetting_plot.

  Args:
    rows: what `leaderboard.rows` returns. thresholds: see `diagnosis.THRESHOLDS`.
    kept: a key of `shares.HOLDOUT_SHARES`.

  Returns:
    A specification with its data; the named data "labels" ({"x", "y", "text"}) is empty.
  """
  needed = ("leak_removed", *HOLDOUT_SHARES[kept])
  shown = [row for row in rows if None not in [row[share] for share in needed]]
  points = [_point(row, [row[share] for share in HOLDOUT_SHARES[kept]]) for row in shown]
  left = [point["left"] for point in points]
  heights = [point[key] for point in points for key in ("inter", "intra")]
  # A margin beyond the outermost points, as in forgetting_plot.
  wide = [max([100, *left]) * 1.6, min([-0.35, *(x * 1.3 - 0.35 for x in left)])]
  high = [min([0, *heights]) - 12, max([100, *heights]) + 14]
  x, y = _axes(wide, high, kept)
  zone = {
    "left": 100 * (1 - thresholds["leak_removed"]),
    "end": wide[1],
    "kept": 100 * thresholds["holdout_kept"],
    "top": high[1],
  }
  layers = _layers(x, y, any(point["below"] for point in points))
  chart = alt.layer(*layers).properties(
    width="container",
    height=460,
    description="Forgetting vs. retention: leakage removed and holdout kept of every model.",
  )
  ideal = [{"left": 0, "kept": 100, "model": "ideal", "verdict": "leak removed, all else kept"}]
  data = {"models": points, "zone": [zone], "ideal": ideal, "labels": []}
  return _finish(chart) | {"datasets": data}


def _axes(wide, high, kept):
  """The axes of the scatter, over these domains."""
  x = alt.X(
    "left:Q",
    scale=alt.Scale(type="symlog", constant=1, domain=wide, nice=False),
    axis=alt.Axis(
      values=[
        t for t in (200, 100, 50, 20, 10, 5, 2, 1, 0, -1, -10, -100) if wide[1] <= t <= wide[0]
      ],
      labelExpr="format(100 - datum.value, '~r') + '%'",
      title=_REMOVED,
      labelOverlap=True,
    ),
  )
  y = alt.Y(
    "kept:Q",
    scale=alt.Scale(domain=high, nice=False),
    axis=alt.Axis(
      title=[f"holdout {kept} kept", _KEPT], labelExpr="datum.value + '%'", tickCount=7
    ),
  )
  return x, y


def _point(row, shares):
  inter, intra = (100 * share for share in shares)
  middle = (inter + intra) / 2
  kept = row["knowledge_kept"]
  removed = row["leak_removed"]
  return {
    "model": row["model"],
    "kind": _kind(row),
    "left": 100 * (1 - removed),
    "kept": max(look.FLOOR, middle),
    "inter": max(look.FLOOR, inter),
    "intra": max(look.FLOOR, intra),
    "below": middle < look.FLOOR,
    "verdict": row["verdict"],
    "removed": f"{removed:z.1%}",
    "others": f"{shares[0]:z.1%}",
    "same": f"{shares[1]:z.1%}",
    "knowledge": "missing" if kept is None else f"{kept:z.1%}",
  }


def _kind(row):
  if row["role"] != "unlearned":
    return row["role"].capitalize()
  if not row["failures"]:
    return "passes"
  return "catastrophic" if "catastrophic" in row["failures"] else KINDS[3]


def _layers(x, y, deep):
  """The layers from back to front; `deep`: some points lie below the axis.

  Screen readers are given the points only.
  """
  models, here = alt.NamedData("models"), {"x": x, "y": y}
  colour, shape, tooltip = _looks()
  faint = alt.condition("datum.faded", alt.value(0.12), alt.value(1))
  sided = [
    alt.Chart(models)
    .mark_point(shape=path, size=110, strokeWidth=1.6, aria=False)
    .encode(x=x, y=alt.Y(f"{key}:Q"), color=colour, opacity=faint)
    for key, path in (("inter", "M-1,0L0,0"), ("intra", "M0,0L1,0"))
  ]
  dot = dict(filled=True, cursor="pointer", stroke=_ref("paper"), strokeWidth=1)
  points = alt.Chart(models).encode(**here, color=colour, tooltip=tooltip, opacity=faint)
  return [
    alt.Chart(alt.NamedData("zone"))
    .mark_rect(color=look.PASS, opacity=0.14, aria=False)
    .encode(**here, x2="end:Q", y2="top:Q"),
    alt.Chart(models)
    .mark_rule(strokeWidth=1.2, aria=False)
    .encode(x=x, y=alt.Y("inter:Q"), y2="intra:Q", color=colour, opacity=faint),
    *sided,
    alt.Chart(alt.NamedData("ideal"))
    .mark_point(
      shape=_STAR,
      size=260,
      filled=True,
      opacity=1,
      color="#E69F00",
      stroke=_ref("ink"),
      strokeWidth=0.8,
    )
    .encode(**here, tooltip=["model:N", "verdict:N"]),
    points.transform_filter("!datum.below").mark_point(size=120, **dot).encode(shape=shape),
    *(
      [points.transform_filter("datum.below").mark_point(shape="triangle-down", size=140, **dot)]
      if deep
      else []
    ),
    alt.Chart(alt.NamedData("labels"))
    .mark_text(color=_ref("ink"), clip=True, aria=False)
    .encode(x="x:Q", y="y:Q", text="text:N"),
  ]


def _looks():
  """Colour, shape and tooltip of a model's point."""
  colour = alt.Color(
    "kind:N",
    legend=alt.Legend(
      title=None, orient="top", columns=alt.ExprRef("width < 560 ? 1 : 3"), symbolOpacity=1
    ),
    scale=alt.Scale(
      domain=list(KINDS),
      range=[_ref("clean"), _ref("compromised"), look.PASS, look.PALETTE[0], look.PALETTE[1]],
    ),
  )
  shape = alt.Shape(
    "kind:N",
    scale=alt.Scale(domain=list(KINDS), range=["square", "square", "circle", "diamond", "cross"]),
  )
  tooltip = [
    alt.Tooltip(f"{key}:N", title=title)
    for key, title in (
      ("model", "model"),
      ("verdict", "verdict"),
      ("removed", "leakage removed"),
      ("others", "kept, other people"),
      ("same", "kept, same people"),
      ("knowledge", "general knowledge kept"),
    )
  ]
  return colour, shape, tooltip


def similarity() -> dict:
  """The similarities of one split. The named data "points" holds {"model", "slot", "at", "to",
  "share"}.
  """
  return _lines(
    alt.X(
      "at:Q", title="cosine", axis=alt.Axis(tickCount=5), scale=alt.Scale(zero=False, nice=False)
    ),
    alt.Y("share:Q", title="share of rows", axis=alt.Axis(tickCount=3, format="%")),
    [
      alt.Tooltip("at:Q", title="cosine from", format=".3f"),
      alt.Tooltip("to:Q", format=".3f"),
      alt.Tooltip("share:Q", format=".1%"),
    ],
    interpolate="step-after",
  )


def training() -> dict:
  """One curve per model. The named data "points" holds {"model", "slot", "step", "value"}."""
  return _lines(
    alt.X("step:Q", title="step", axis=alt.Axis(tickCount=4, format=",d")),
    alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
    [alt.Tooltip("step:Q", format=",d"), alt.Tooltip("value:Q", format=".4~g")],
    interpolate="linear",
  )


def _lines(x, y, tooltip, interpolate):
  """Lines with the colour and dash of their slot: "clean", "compromised" or a number from 0."""
  domain = ["clean", "compromised", *map(str, range(SLOTS))]
  scale = alt.Scale(domain=domain, range=[_ref("clean"), _ref("compromised"), *look.PALETTE])
  dash = alt.Scale(domain=domain, range=[[1, 0], [1, 0], *DASHES])
  chart = alt.Chart(alt.NamedData("points")).encode(
    x=x, y=y, color=alt.Color("slot:N", scale=scale, legend=None)
  )
  line = chart.mark_line(interpolate=interpolate, strokeWidth=1.8, aria=False).encode(
    strokeDash=alt.StrokeDash("slot:N", scale=dash, legend=None)
  )
  # Invisible points that carry the tooltip.
  dots = chart.mark_point(filled=True, size=90, opacity=0, aria=False)
  layers = [line, dots.encode(tooltip=["model:N", *tooltip])]
  if interpolate == "step-after":
    area = chart.transform_filter("datum.slot == 'clean'")
    layers.insert(0, area.mark_area(interpolate=interpolate, opacity=0.28, line=False, aria=False))
  return _finish(alt.layer(*layers).properties(width="container", height=190))


def _finish(chart):
  params = [alt.param(name=name, value=value) for name, value in THEMES["light"].items()]
  return chart.add_params(*params).to_dict()


def _ref(name):
  return alt.ExprRef(name)
