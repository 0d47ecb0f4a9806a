"""What the page shows, as one JSON value: numbers in short, bulk left out or binned."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from salmu_jax.report import charts, histograms, leaderboard, published_table
from salmu_jax.results import clauses, recoverability
from salmu_jax.results import published as sources
from salmu_jax.results.lookup import distances
from salmu_jax.results.metrics_table import METRICS, plotted
from salmu_jax.results.reading import CURVES
from salmu_jax.results.shares import HOLDOUT_SHARES, SIDES
from salmu_jax.results.trust import TRUST

POINTS = 60  # of a training curve
LONG = 24  # entries of a list in the provenance; of longer ones the number is shown
BULK = ("curve",)  # of `salmu_jax` in a results file, drawn elsewhere
BULK_ADDITIONAL = ("rows", "metrics", "facts", "examples", "breakdown")
PORTRAIT = re.compile(r"data:image/(jpeg|png);base64,[A-Za-z0-9+/=]+")
UNMEASURED = "general knowledge not measured"


def table(
  label: str,
  results: Sequence[Mapping],
  thresholds: Mapping[str, float],
  statistics: Mapping,
  over_seeds: Mapping | None,
) -> dict:
  """Everything about one table.

  Args:
    label: its name. results: Clean, Compromised, then the others. thresholds: of the verdicts.
    statistics: what `statistics.of_table` returns for it.
    over_seeds: what `statistics.over_seeds` returns for it and its other seeds, or None.

  Returns:
    A JSON value: "label", "lead", "rows" (as `_row`), "scatter" (a chart for each
    key of HOLDOUT_SHARES), "edges" (of the
    histograms), "ranks", "pairs", "seeds", "portraits" and "comparable", whether published values
    are of the same release.
  """
  by_name = {result["salmu_jax"]["model"]: result for result in results}
  ranked = leaderboard.rows(results, thresholds)
  edges = histograms.edges(results)
  examples = _examples(results)
  seeds = over_seeds["models"] if over_seeds else {}
  rows = []
  for row in ranked:
    result, name = by_name[row["model"]], row["model"]
    about = {
      "cells": _shares(row, statistics["shares"].get(name, {}))
      | _cells(row, ranked[0], statistics["intervals"][name], seeds.get(name, {})),
      "bins": [_bins(result, metric, edges) for metric in plotted().values()],
      "curve": _curve(result["salmu_jax"]["curve"]),
      "examples": examples[name],
      "provenance": _provenance(result["salmu_jax"]),
    }
    rows.append(_row(row) | about)
  return {
    "label": label,
    "lead": lead(results, ranked),
    "comparable": is_published(results),
    "rows": rows,
    "scatter": {kept: charts.forgetting(ranked, thresholds, kept) for kept in HOLDOUT_SHARES},
    "edges": [_short(edge) for edge in edges.tolist()],
    "ranks": _clean(statistics["ranks"]),
    "pairs": _clean(statistics["pairs"]),
    "seeds": over_seeds and _seeds(over_seeds),
    "portraits": _portraits(results),
  }


def is_published(results: Sequence[Mapping]) -> bool:
  """Whether the models were judged on the published release, so that published values compare."""
  return results[0]["salmu_jax"]["release"]["name"].startswith(sources.DATASET)


def lead(results: Sequence[Mapping], rows: Sequence[Mapping]) -> str:
  """What a table shows, in two sentences."""
  about = results[1]["salmu_jax"]
  release, methods = about["release"], rows[2:]
  seeds = sorted({r["salmu_jax"]["seed"] for r in results if r["salmu_jax"]["seed"] is not None})
  passing = sum(not row["failures"] and row["leak_removed"] is not None for row in methods)
  verdict = {0: "None passes.", len(methods): "All pass."}.get(passing, f"{passing} of them pass.")
  if passing == 1:
    verdict = "One passes."
  many = f"{len(methods)} unlearned model{'' if len(methods) == 1 else 's'}"
  return (
    f"{many} beside Clean and Compromised, judged on {release['name']} "
    f"(manifest {release['manifest_sha256'][:12]}), seed "
    f"{', '.join(map(str, seeds)) or 'missing'}, the holdout chosen by {release['holdout_unit']}, "
    f"{release['retrieval_gallery']:,} captions to retrieve from. {verdict if methods else ''}"
  ).strip()


def columns(results: Iterable[Mapping]) -> list[dict]:
  """The columns of numbers: dicts of "key", "group", "head", "name", "better", "bound" and "trust".

  Within a group of metrics or attacks, those that deserve most trust come first.

  Args:
    results: of all tables, whose attacks have columns.
  """
  results = list(results)
  ways = recoverability.better(results)
  sides = [
    _column(key, "sides", side.about, "higher") | {"head": side.label}
    for key, side in SIDES.items()
  ]
  measured = [
    _column(key, _group(metric), metric.name, metric.better, metric.bound.capitalize())
    for key, metric in METRICS.items()
  ]
  attacks = [
    _column(key, "recoverability", label, ways[key], "Clean")
    for key, label in recoverability.attacks(results).items()
  ]
  trusted = lambda column: -TRUST.get(column["key"], -1.0)
  groups = list(dict.fromkeys(column["group"] for column in measured))
  by_group = [[each for each in measured if each["group"] == group] for group in groups]
  return sides + [column for group in (*by_group, attacks) for column in sorted(group, key=trusted)]


def _column(key, group, name, better, bound=None):
  trust = TRUST.get(key)
  return {
    "key": key,
    "group": group,
    "head": key,
    "name": name,
    "better": better,
    "bound": bound,
    "trust": None if trust is None else f"{trust:.2f}",
  }


def _group(metric):
  """The group of columns of a metric: by pillar those of the released evaluator, then ours."""
  if metric.path[0] == "salmu_jax":
    return "facts" if metric.listed else "details"
  return "efficacy" if metric.bound == "clean" else "utility"


def published_rows() -> list[dict]:
  """The published values in the shape of a table's rows."""
  models = published_table.rows()
  bounds = [row["scores"] for row in models[:2]]
  rows = []
  for row in models:
    away = distances(row["scores"], *bounds)
    cells = {key: [value, away[key]] for key, value in row["scores"].items() if value is not None}
    failures = [word for word in row["diagnosis"].split(" + ") if word and word != "passes"]
    words = row["diagnosis"] or (
      "bound" if row["budget"] is None else "not judged, numbers missing"
    )
    rows.append(
      {
        "model": row["model"],
        "source": "published",
        "role": "published",
        "method": None,
        "tuning": None,
        "budget": row["budget"],
        "verdict": words,
        "marks": _marks(words, failures, measured=True),
        "paper": row["verdict"],
        "cells": _clean(cells),
        "provenance": dict(sources.SOURCE),
      }
    )
  return rows


def _row(row):
  keys = (
    "model",
    "role",
    "method",
    "budget",
    "seed",
    "steps",
    "wall_seconds",
    "device",
    "tuning",
    "verdict",
  )
  measured = row["knowledge_kept"] is not None or row["leak_removed"] is None
  marks = _marks(row["verdict"], row["failures"], measured or row["role"] != "unlearned")
  strict = {"strict": _strict_mark(row), "failing": clauses.unmet(row["clauses"])}
  return {key: row[key] for key in keys} | {"source": "measured", "marks": marks} | strict


def _strict_mark(row):
  """(kind, words) of the strict verdict, or None where there is none, as for bounds."""
  if not row["clauses"]:
    return None
  words = clauses.in_short(row["clauses"])
  kinds = {"not judged": "unjudged", clauses.PASSES: "passes"}
  return kinds.get(words, "over-generalised"), words


def _marks(verdict, failures, measured):
  """[(kind, words)] that make up a verdict; each kind has an icon."""
  if verdict == "bound":
    return [("bound", "bound")]
  if failures:
    marks = [(word, word) for word in failures]
  elif verdict.startswith("passes"):
    marks = [("passes", "passes")]
  else:
    return [("unjudged", verdict)]
  return marks if measured else [*marks, ("unjudged", UNMEASURED)]


def _shares(row, shares):
  """{key of SIDES: [value, None, low, high]}."""
  cells = {
    key: [row[key], None, *(shares.get(key, {}).get(end) for end in ("low", "high"))]
    for key in SIDES
  }
  return {key: cell for key, cell in _clean(cells).items() if cell[0] is not None}


def _cells(row, clean, intervals, seeds):
  """{key of a column: [value, distance to bound, low, high, min, max and mean over seeds]}."""
  cells = {}
  for key in (*METRICS, *row["recoverability"]):
    if key in METRICS:
      value, away = row["scores"][key], row["distances"][key]
    else:
      value = row["recoverability"][key]
      away = leaderboard.distance_to_clean(value, clean["recoverability"][key])
    ends = intervals.get(key) or [None, None]
    over = seeds.get(key)
    span = [over["min"], over["max"], over["mean"]] if over and over["seeds"] > 1 else []
    cells[key] = [value, away, *ends, *span]
  return {key: cell for key, cell in _clean(cells).items() if cell[0] is not None}


def _seeds(over):
  """The models that have several seeds, as `statistics.over_seeds` has them, numbers short."""
  models = {
    name: {key: cell for key, cell in numbers.items() if cell}
    for name, numbers in over["models"].items()
  }
  return _clean({"seeds": over["seeds"], "models": models})


def _bins(result, metric, edges):
  """Rows in each bin; empty where a split has none."""
  counts = histograms.counts(result, metric, edges)
  return counts.tolist() if counts.any() else []


def _curve(curve):
  """{"step": [...], key of CURVES: [...]}, of at most POINTS points, the last among them."""
  chosen = np.unique(np.linspace(0, len(curve) - 1, POINTS).round().astype(int)) if curve else []
  points = [curve[at] for at in chosen]
  keys = [key for key in CURVES if any(p.get(key) is not None for p in points)]
  return _clean(
    {"step": [p["step"] for p in points]} | {k: [p.get(k) for p in points] for k in keys}
  )


def _examples(results):
  """{model: {number of a portrait: [rank, cosine, [[text, cosine] of the top]]}}."""
  numbers = {_row_of(example): at for at, example in enumerate(_distinct_examples(results))}
  return {
    result["salmu_jax"]["model"]: {
      numbers[_row_of(example)]: _clean(
        [
          example["rank"],
          example.get("cosine"),
          [[caption["text"], caption.get("cosine")] for caption in example["top"]],
        ]
      )
      for example in _examples_of(result)
    }
    for result in results
  }


def _portraits(results):
  """What examples of all models share; a portrait that is not plainly a picture is left out."""
  return [
    {key: example[key] for key in ("split", "name", "caption", "file_name")}
    | {"portrait": example["portrait"] if PORTRAIT.fullmatch(example["portrait"]) else None}
    for example in _distinct_examples(results)
  ]


def _distinct_examples(results):
  """Each example once, as the first model with it has it."""
  examples = {}
  for result in results:
    for example in _examples_of(result):
      examples.setdefault(_row_of(example), example)
  return list(examples.values())


def _examples_of(result):
  return result["salmu_jax"].get("additional", {}).get("examples", [])


def _row_of(example):
  """What tells the row of an example."""
  return example["split"], example["file_name"], example["caption"]


def _provenance(about):
  """Where a row comes from: all that a results file says of it, less bulk."""
  kept = {key: value for key, value in about.items() if key not in (*BULK, "additional")}
  additional = about.get("additional", {})
  kept["additional"] = {k: v for k, v in additional.items() if k not in BULK_ADDITIONAL}
  return _clean(_brief(kept), digits=None)


def _brief(value):
  if isinstance(value, dict):
    return {key: _brief(item) for key, item in value.items()}
  if isinstance(value, list):
    return [_brief(item) for item in value] if len(value) <= LONG else f"{len(value):,} values"
  return value


def _clean(value, digits=6):
  """A JSON value without NaN and infinities, which become None; numbers of `digits` digits."""
  if isinstance(value, dict):
    return {key: _clean(item, digits) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_clean(item, digits) for item in value]
  if isinstance(value, float):
    return (_short(value, digits) if digits else value) if math.isfinite(value) else None
  return value


def _short(value, digits=6):
  return float(f"{value:.{digits}g}")
