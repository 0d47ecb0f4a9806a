"""The leaderboard as one self-contained HTML file: no server, no network, no installation."""

import base64
import functools
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import jinja2
import vl_convert

from salmu_jax.report import (
  charts,
  histograms,
  leaderboard,
  look,
  page_data,
  published_table,
)
from salmu_jax.results import bootstrap, diagnosis
from salmu_jax.results.collecting import Table
from salmu_jax.results.metrics_table import plotted
from salmu_jax.results.shares import order_in_words

FILE = "leaderboard.html"
_HERE = pathlib.Path(__file__).parent
_SCRIPTS = ("page.js", "page_table.js", "page_charts.js")
_FIRST = 3  # methods plotted until the reader selects others


def html(
  tables: Sequence[Table],
  statistics: Mapping,
  left_out: Iterable[tuple[str, str]] = (),
  thresholds: Mapping[str, float] = diagnosis.THRESHOLDS,
) -> str:
  """The page.

  Args:
    tables: see `collecting.collect`. statistics: what `statistics.of_tables` returns for them.
    left_out: [(path, reason)] of files that are in no table.
    thresholds: see `diagnosis.THRESHOLDS`.

  Returns:
    HTML, deterministic in the results.
  """
  over_seeds = {label: seeds for seeds in statistics["over_seeds"] for label in seeds["tables"]}
  shown = [
    page_data.table(label, results, thresholds, statistics["tables"][label], over_seeds.get(label))
    for label, results in tables
  ]
  columns = page_data.columns(result for _, results in tables for result in results)
  level = f"{bootstrap.LEVEL:.0%}"
  scripts = [vl_convert.javascript_bundle(), "".join(map(_read, _SCRIPTS))]
  template = _environment().get_template("page.html.jinja")
  return template.render(
    tables=shown,
    left_out=left_out,
    columns=columns,
    advice=leaderboard.ADVICE,
    failures={failure: diagnosis.meaning(failure, thresholds) for failure in diagnosis.FAILURES},
    order=order_in_words(),
    source=published_table.source(),
    level=level,
    style=_read("page.css"),
    scripts=scripts,
    hashes=[_hash(script) for script in scripts],
    data=_embedded(_data(shown, columns, level)),
  )


def _data(tables, columns, level):
  """The data that the page's scripts read."""
  return {
    "columns": columns,
    "tables": tables,
    "published": page_data.published_rows(),
    "charts": {"similarity": charts.similarity(), "training": charts.training()},
    "themes": {
      name: {"colours": charts.THEMES[name], "config": charts.config(name)}
      for name in charts.THEMES
    },
    "splits": [list(histograms.title(metric)) for metric in plotted().values()],
    "palette": look.PALETTE,
    "dashes": charts.DASHES,
    "slots": charts.SLOTS,
    "first": _FIRST,
    "level": level,
  }


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
  """The hash of a script for the page's security policy; no other script runs."""
  return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _embedded(value):
  """JSON without HTML markup; it is ASCII, so without U+2028 and U+2029."""
  text = json.dumps(value, allow_nan=False, separators=(",", ":"))
  for character in "<>&":
    text = text.replace(character, f"\\u{ord(character):04x}")
  return text
