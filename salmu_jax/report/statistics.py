"""Statistics: confidence intervals, ranks, and which differences are significant.

The bootstrap keeps models and probes fixed: nothing is retrained or refitted. Several seeds show
the variance that this leaves out. `bootstrap` documents the resampling.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from salmu_jax.results import bootstrap, recoverability
from salmu_jax.results.bootstrap import Draws
from salmu_jax.results.collecting import Table, seed_of
from salmu_jax.results.diagnosis import obstacle
from salmu_jax.results.lookup import flatten
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.results.shares import SIDES, Shares, ranked, shares, weakest


def of_tables(tables: Sequence[Table]) -> dict:
  """The statistics of every table, and over tables that differ only in their seed.

  Returns:
    {"tables": {label: see `of_table`}, "over_seeds": [see `over_seeds`, with "tables": their
    labels]}.
  """
  families: dict[str, list[Table]] = {}
  for table in tables:
    families.setdefault(family(table), []).append(table)
  over = []
  for members in families.values():
    if seeds := over_seeds(members):
      over.append({"tables": [table.label for table in members], **seeds})
  return {"tables": {table.label: of_table(table.results) for table in tables}, "over_seeds": over}


def of_table(results: Sequence[Mapping], seed: int = 0) -> dict:
  """Intervals, ranks and paired differences of models that were judged on the same rows.

  Args:
    results: what `read_results` returns: Clean, Compromised, then the others.
    seed: of the bootstrap.

  Returns:
    A dict of
    "intervals": {model: {key of METRICS: [low, high], or None where the file has no rows to
      resample}};
    "shares": {model: {key of SIDES: {"value", "low", "high"}}} of the models that can be judged;
    "ranks": [{"model", "rank", "low", "high", "weakest", "better_than"}] of these models, by their
      weakest share, best first;
    "pairs": [{"model", "other", "metric", "difference", "low", "high", "real"}] of neighbours in
      that order.
    "better_than" and "real" (significant) hold jointly for all pairs of models at LEVEL, each
    metric by itself (single-step max-t). "low" and "high" are pointwise. Intervals need at least
    FEWEST groups.
  """
  drawn = bootstrap.replicates(results, seed)
  intervals = {
    model: {key: bootstrap.interval(draws[key]) for key in METRICS}
    for model, draws in drawn.items()
  }
  judged = _shares(results, drawn)
  by_model = {
    model: {
      side: dict(zip(("value", "low", "high"), (value, *_ends_of(draws, side)), strict=True))
      for side, value in values.items()
    }
    for model, (values, draws) in judged.items()
  }
  weak = {model: weakest(draws) for model, (_, draws) in judged.items()}
  weak = {model: draws for model, draws in weak.items() if np.isfinite(draws).all()}
  order = ranked({model: judged[model][0] for model in weak})
  sides = {model: (float(weakest(judged[model][0])), weak[model]) for model in order}
  return {
    "intervals": intervals,
    "shares": by_model,
    "ranks": _ranks(sides),
    "pairs": _pairs(results, drawn, order),
  }


def _ends_of(draws: Shares, side: str):
  return bootstrap.ends(getattr(draws, side))


def _shares(
  results: Sequence[Mapping], drawn: Mapping[str, Mapping[str, Draws]]
) -> dict[str, tuple[Shares, Shares]]:
  """{model: (its shares, their draws)} of the models that can be judged and have rows."""
  clean, compromised = results[:2]
  bounds = flatten(clean), flatten(compromised)
  judged = {}
  for result in results:
    about, values = result["salmu_jax"], flatten(result)
    if about["role"] != "unlearned" or obstacle(values, *bounds):
      continue
    draws = [drawn[model["salmu_jax"]["model"]] for model in (result, clean, compromised)]
    needed = [side.metric for side in SIDES.values() if not side.of_value]
    if all(table[key] is not None for table in draws for key in needed):
      reached, replicates = shares(values, *bounds), shares(*draws)
      unsaid = {side: None for side in SIDES if getattr(reached, side) is None}
      judged[about["model"]] = reached, replicates._replace(**unsaid)
  return judged


def _ranks(sides: Mapping[str, tuple[float, np.ndarray]]) -> list[dict]:
  """The ranks of `of_table`, from {model: (weakest share, its (R,) draws)}, in this order."""
  order, rows = list(sides), []
  real = _real(sides)
  standing = _standing([draws for _, draws in sides.values()])
  for place, model in enumerate(order):
    low, high = np.percentile(standing[place], bootstrap.ENDS, method="nearest")
    rows.append(
      {
        "model": model,
        "rank": place + 1,
        "low": int(low),
        "high": int(high),
        "weakest": sides[model][0],
        "better_than": [other for other in order[place + 1 :] if real[model, other]],
      }
    )
  return rows


def _standing(draws: Sequence[np.ndarray]) -> np.ndarray:
  """(M, R) the rank of each model in every replicate; 1 is best, ties share the better rank."""
  if not draws:
    return np.zeros((0, bootstrap.REPLICATES))
  table = np.stack(draws)
  return 1 + np.sum(table[None, :, :] > table[:, None, :], axis=1)


def _real(sides: Mapping[str, tuple[float, np.ndarray]]) -> dict[tuple[str, str], bool]:
  """{(better, worse): whether the difference is significant}, jointly: |d| > c se."""
  names = list(sides)
  value = np.array([sides[name][0] for name in names])
  draws = [sides[name][1] for name in names]
  table = np.stack(draws) if names else np.zeros((0, bootstrap.REPLICATES))
  wide = bootstrap.simultaneous(table)
  return {
    (a, b): bool(abs(value[i] - value[j]) > wide[i, j])
    for i, a in enumerate(names)
    for j, b in enumerate(names)
  }


def _pairs(
  results: Sequence[Mapping], drawn: Mapping[str, Mapping[str, Draws]], order: Sequence[str]
) -> list[dict]:
  """The differences of neighbours in the order, metric by metric."""
  values = {result["salmu_jax"]["model"]: flatten(result) for result in results}
  pairs = []
  for key in METRICS:
    models = [m for m in order if drawn[m][key] is not None and values[m][key] is not None]
    if not models:
      continue
    wide = bootstrap.simultaneous(np.stack([drawn[model][key] for model in models]))
    for at, (model, other) in enumerate(itertools.pairwise(models)):
      difference = values[model][key] - values[other][key]
      low, high = bootstrap.ends(drawn[model][key] - drawn[other][key])
      pairs.append(
        {
          "model": model,
          "other": other,
          "metric": key,
          "difference": difference,
          "low": low,
          "high": high,
          "real": bool(abs(difference) > wide[at, at + 1]),
        }
      )
  return pairs


def over_seeds(tables: Sequence[Table], seed: int = 0) -> dict | None:
  """Mean, range and interval over the seeds of tables that differ only in their seed.

  Every replicate of the interval resamples seeds, and people within seeds. Person number i is drawn
  equally often in every seed, so that people and classes that seeds share count once.

  Returns:
    {"seeds": [...], "models": {model: {key of METRICS or of an attack: {"mean", "min", "max",
    "low", "high", "seeds": how many have the number}, or None}}}; None if there is only one table,
    or if tables differ in more than the seed or share a seed. A model counts in a table if its
    method, settings and budget are those in the first table with its name.
  """
  seeds = [seed_of(table.results) for table in tables]
  if len(tables) < 2 or len({family(table) for table in tables}) > 1:
    return None
  if None in seeds or len(set(seeds)) < len(seeds):
    return None
  drawn = [bootstrap.replicates(table.results, seed) for table in tables]
  by_name = [{r["salmu_jax"]["model"]: r for r in table.results} for table in tables]
  attacks = recoverability.attacks(r for table in tables for r in table.results)
  rng = np.random.default_rng([seed, len(tables)])
  models: dict[str, dict] = {}
  for name in dict.fromkeys(name for results in by_name for name in results):
    run = _run(next(results[name] for results in by_name if name in results))
    same = [
      (flatten(results[name]) | recoverability.values(results[name], attacks), draws[name])
      for results, draws in zip(by_name, drawn, strict=True)
      if name in results and _run(results[name]) == run
    ]
    models[name] = {}
    for key in (*METRICS, *attacks):
      pairs = [(values[key], draws.get(key)) for values, draws in same if values[key] is not None]
      models[name][key] = _over(pairs, rng) if pairs else None
  return {"seeds": seeds, "models": models}


def _over(pairs, rng):
  """The mean over seeds of one number, from one (value, draws) per seed."""
  values = np.array([value for value, _ in pairs])
  mean = {"mean": float(values.mean()), "min": float(values.min()), "max": float(values.max())}
  low = high = None
  if all(draws is not None for _, draws in pairs):
    table = np.stack([draws for _, draws in pairs])  # (S, R)
    chosen = rng.integers(len(pairs), size=table.shape)
    low, high = bootstrap.ends(np.take_along_axis(table, chosen, axis=0).mean(axis=0))
  return {**mean, "low": low, "high": high, "seeds": len(pairs)}


def _run(result):
  about = result["salmu_jax"]
  return [about[key] for key in ("method", "settings", "budget")]


def family(table: Table) -> str:
  """A key of the set-up of release and evaluation, equal for tables that differ only in seed."""
  about = table.results[1]["salmu_jax"]
  release = about["release"]
  counts = release.get("counts", {})
  small = {
    split: rows for split, rows in counts.items() if not split.startswith(("forget", "holdout"))
  }
  same = [
    release["name"],
    release["holdout_unit"],
    small,
    about["evaluation"],
    about["general_knowledge"],
  ]
  bounds = [result["salmu_jax"]["settings"] for result in table.results[:2]]
  return repr([same, bounds, about.get("architecture")])
