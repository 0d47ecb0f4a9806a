"""The page's data as one JSON value: numbers rounded, bulk data left out or binned."""

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

POINTS = 60  # per training curve
LONG = 24  # longest list shown in the provenance; for longer ones, only the length
BULK = ("curve",)  # keys of `salmu_jax` in a results file that are plotted instead
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
  """The data of one table.

  Args:
    label: its name. results: Clean, Compromised, then the others. thresholds: of the verdicts.
    statistics: what `statistics.of_table` returns for it.
    over_seeds: what `statistics.over_seeds` returns for its seeds, or None.

  Returns:
    A JSON value: "label", "lead", "rows" (as `_row`), "scatter" (a chart for each key of
    HOLDOUT_SHARES), "edges" (of the histograms), "ranks", "pairs", "seeds", "portraits" and
    "comparable" (whether the published values are of the same release).
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
  """Whether the models were judged on the published release, so published values compare."""
  return results[0]["salmu_jax"]["release"]["name"].startswith(sources.DATASET)


def lead(results: Sequence[Mapping], rows: Sequence[Mapping]) -> str:
  """A short summary of a table."""
  about = results[1]["salmu_jax"]
  release, methods = about["release"], rows[2:]
  seeds = sorted({r["salmu_jax"]["seed"] for r in results if r["salmu_jax"]["seed"] is not None})
  passing = sum(not row["failures"] and row["leak_removed"] is not None for row in methods)
  verdict = {0: "None passes.", len(methods): "All pass."}.get(passing, f"{passing} of them pass.")
  if passing == 1:
    verdict = "One passes."
  many = f"{len(methods)} unlearned model{'' if len(methods) == 1 else 's'}"
  return (
    f"{many} on {release['name']}, with Clean and Compromised for reference. "
    f"{f'{verdict} ' if methods else ''}Seed {', '.join(map(str, seeds)) or 'missing'}, holdout "
    f"unit {release['holdout_unit']}, retrieval gallery of {release['retrieval_gallery']:,} "
    f"captions, manifest {release['manifest_sha256'][:12]}."
  )


def columns(results: Iterable[Mapping]) -> list[dict]:
  """The number columns: dicts of "key", "group", "head", "name", "better", "bound" and "trust".

  Within a group of metrics or attacks, the most trusted come first.

  Args:
    results: of all tables; each attack on any of them has a column.
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
  """The column group of a metric: its pillar in the released evaluator, or one of ours."""
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
  """(kind, words) of the strict verdict, or None for models without one, such as bounds."""
  if not row["clauses"]:
    return None
  words = clauses.in_short(row["clauses"])
  kinds = {"not judged": "unjudged", clauses.PASSES: "passes"}
  return kinds.get(words, "over-generalised"), words


def _marks(verdict, failures, measured):
  """The parts of a verdict as [(kind, words)]; each kind has an icon."""
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
  """The models with several seeds, as in `statistics.over_seeds`, with rounded numbers."""
  models = {
    name: {key: cell for key, cell in numbers.items() if cell}
    for name, numbers in over["models"].items()
  }
  return _clean({"seeds": over["seeds"], "models": models})


def _bins(result, metric, edges):
  """The number of rows in each bin; empty if the split has no rows."""
  counts = histograms.counts(result, metric, edges)
  return counts.tolist() if counts.any() else []


def _curve(curve):
  """{"step": [...], key of CURVES: [...]} with at most POINTS points, including the last."""
  chosen = np.unique(np.linspace(0, len(curve) - 1, POINTS).round().astype(int)) if curve else []
  points = [curve[at] for at in chosen]
  keys = [key for key in CURVES if any(p.get(key) is not None for p in points)]
  return _clean(
    {"step": [p["step"] for p in points]} | {k: [p.get(k) for p in points] for k in keys}
  )


def _examples(results):
  """{model: {index of a portrait: [rank, cosine, [[text, cosine] of the top captions]]}}."""
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
  """The examples' fields that all models share; portraits that are no plain image are None."""
  return [
    {key: example[key] for key in ("split", "name", "caption", "file_name")}
    | {"portrait": example["portrait"] if PORTRAIT.fullmatch(example["portrait"]) else None}
    for example in _distinct_examples(results)
  ]


def _distinct_examples(results):
  """Each example once, taken from the first model that has it."""
  examples = {}
  for result in results:
    for example in _examples_of(result):
      examples.setdefault(_row_of(example), example)
  return list(examples.values())


def _examples_of(result):
  return result["salmu_jax"].get("additional", {}).get("examples", [])


def _row_of(example):
  """The key of an example's row."""
  return example["split"], example["file_name"], example["caption"]


def _provenance(about):
  """The provenance of a row: everything in its results file except bulk data."""
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
  """A JSON value with NaN and infinities as None, and numbers of `digits` significant digits."""
  if isinstance(value, dict):
    return {key: _clean(item, digits) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_clean(item, digits) for item in value]
  if isinstance(value, float):
    return (_short(value, digits) if digits else value) if math.isfinite(value) else None
  return value


def _short(value, digits=6):
  return float(f"{value:.{digits}g}")
