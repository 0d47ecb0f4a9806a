"""The leaderboard as one HTML file that works alone: no server, no network, nothing to install."""

import base64
import functools
import hashlib
import json
import pathlib

import jinja2
import vl_convert

from salmu_jax.report import charts, leaderboard, page_data, plots, published_table, statistics
from salmu_jax.results import diagnosis

FILE = "leaderboard.html"
_HERE = pathlib.Path(__file__).parent
_SCRIPTS = ("page.js", "page_table.js", "page_charts.js")
_FIRST = 3  # methods drawn before any is chosen


def html(tables, found, left_out=(), thresholds=diagnosis.THRESHOLDS):
  """The page.

  Args:
    tables: [Table], see `results.collect`. found: what `statistics.of_tables` returns for them.
    left_out: [(path, why)] of files that are in none.
    thresholds: see `diagnosis.THRESHOLDS`.

  Returns:
    HTML; the same for the same results.
  """
  over_seeds = {label: each for each in found["over_seeds"] for label in each["tables"]}
  shown = [
    page_data.table(label, results, thresholds, found["tables"][label], over_seeds.get(label))
    for label, results in tables
  ]
  columns, level = page_data.columns(), f"{statistics.LEVEL:.0%}"
  data = {
    "columns": columns,
    "tables": shown,
    "published": page_data.published_rows(),
    "charts": {"similarity": charts.similarity(), "training": charts.training()},
    "themes": {
      name: {"colours": charts.THEMES[name], "config": charts.config(name)}
      for name in charts.THEMES
    },
    "splits": [title.split("\n") for title, _ in plots.SPLITS],
    "palette": plots.PALETTE,
    "dashes": charts.DASHES,
    "slots": charts.SLOTS,
    "first": _FIRST,
    "level": level,
  }
  scripts = [vl_convert.javascript_bundle(), "".join(map(_read, _SCRIPTS))]
  return (
    _environment()
    .get_template("page.html.jinja")
    .render(
      tables=shown,
      left_out=left_out,
      columns=columns,
      advice=leaderboard.ADVICE,
      limits={name: f"{100 * value:g}%" for name, value in thresholds.items()},
      source=published_table.source(),
      level=level,
      style=_read("page.css"),
      scripts=scripts,
      hashes=[_hash(script) for script in scripts],
      data=_embedded(data),
    )
  )


@functools.cache
def _environment():
  return jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )


def _read(name):
  return (_HERE / name).read_text(encoding="utf-8")


def _hash(script):
  """What the page's security policy knows a script by; no other script runs."""
  return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _embedded(value):
  """JSON that no HTML parser sees markup in; it is ASCII, so without U+2028 and U+2029."""
  text = json.dumps(value, allow_nan=False, separators=(",", ":"))
  for character in "<>&":
    text = text.replace(character, f"\\u{ord(character):04x}")
  return text
