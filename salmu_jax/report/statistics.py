"""How sure the numbers are: intervals by a bootstrap clustered on people, and which differences are
real.

People are drawn again with all their rows, the same people for every model, so differences are
paired (Field and Welsh, J. R. Statist. Soc. B 69, 2007). Strangers of the fragile set are drawn
picture by picture, and GenKnow's pictures class by class. Models are held as they are: the probes
are not fitted anew, and training is not repeated; what that adds, seeds show.
"""

import itertools

import numpy as np

from salmu_jax.report import leaderboard
from salmu_jax.results import reading as results_lib
from salmu_jax.results import scores

REPLICATES = 2000
FEWEST = 5  # groups that can say anything of others
LEVEL = 0.95
# Metric -> (how a results file tells each case, the group of `outcomes.groups` that its rows are
# of).
_CASES = {
  "RetFail_R@1": (lambda r: _ranks(r) < 1, "forget"),
  "RetFail_MRR": (lambda r: 1 / (1 + _ranks(r)), "forget"),
  "AssocStr": (lambda r: r["efficacy"]["1.2_AssocStr"]["scores"], "forget"),
  "ACS": (lambda r: _rows(r)["hits"]["ACS"], "forget"),
  "IdZSC": (lambda r: _rows(r)["hits"]["IdZSC"], "forget_identity"),
  "CoreAssoc": (lambda r: r["efficacy"]["1.5_CoreAssoc"]["scores"], "forget"),
  "GenKnow": (lambda r: _rows(r)["hits"]["GenKnow"], "zero_shot"),
  "InterIdSim": (lambda r: r["utility"]["2.2_InterIdSim"]["scores"], "holdout_identity"),
  "IntraIdSim": (lambda r: r["utility"]["2.3_IntraIdSim"]["scores"], "holdout_association"),
  "VisIdInt": (lambda r: r["utility"]["2.4_VisIdInt"]["scores"], "retain_joint"),
  "FragSim": (lambda r: r["utility"]["2.5_FragSim"]["scores"], "fragile_set"),
}
_STRANGERS = ("fragile_set", "zero_shot")  # drawn apart from people


def of_tables(tables):
  """The statistics of every table, and over those that are seeds of one another.

  Args:
    tables: [Table].

  Returns:
    {"tables": {label: see `of_table`}, "over_seeds": [see `over_seeds`, with "tables": their
    labels]}.
  """
  families = {}
  for table in tables:
    families.setdefault(family(table), []).append(table)
  over = []
  for members in families.values():
    if found := over_seeds(members):
      over.append({"tables": [table.label for table in members], **found})
  return {"tables": {table.label: of_table(table.results) for table in tables}, "over_seeds": over}


def of_table(results, seed=0):
  """Intervals, ranks and paired differences of models that were judged on the same rows.

  Args:
    results: what `read_results` returns: Clean, Compromised, then the others. seed: of the draws.

  Returns:
    A dict of
    "intervals": {model: {key of METRICS: [low, high], or None where the file has no rows to draw
      from}};
    "shares": {model: {side: {"value", "low", "high"}}}, sides as in `_kept`, of the models that can
      be judged;
    "ranks": [{"model", "rank", "low", "high", "weakest", "better_than"}] of these, by their weakest
      side, best first;
    "pairs": [{"model", "other", "metric", "difference", "low", "high", "real"}] of neighbours in
      that order.
    "better_than" and "real" hold for all pairs of models together, each metric by itself, with
    probability LEVEL (single-step max-t); low and high are of the one number. FEWEST groups are the
    least that intervals are drawn from.
  """
  drawn = replicates(results, seed)
  about = [result["salmu_jax"]["model"] for result in results]
  intervals = {
    model: {key: _interval(drawn[model][key]) for key in scores.METRICS} for model in about
  }
  known = _sides(results, drawn)
  shares = {
    model: {
      side: dict(zip(("value", "low", "high"), (value, *_ends(draws.get(side))), strict=True))
      for side, value in values.items()
    }
    for model, (values, draws) in known.items()
  }
  sides = {m: (float(_weakest(values)), _weakest(draws)) for m, (values, draws) in known.items()}
  sides = {model: each for model, each in sides.items() if np.isfinite(each[1]).all()}
  order = sorted(sides, key=lambda model: (-sides[model][0], model))
  return {
    "intervals": intervals,
    "shares": shares,
    "ranks": _ranked(order, sides),
    "pairs": _pairs(results, drawn, order),
  }


def _ranked(order, sides):
  """The ranks of `of_table`, from {model: (weakest side, (R,) of it)} and the models in order."""
  out, real = [], _real({model: sides[model] for model in order})
  standing = _standing([sides[model][1] for model in order])
  for place, model in enumerate(order):
    low, high = np.percentile(standing[place], _ENDS, method="nearest")
    out.append(
      {
        "model": model,
        "rank": place + 1,
        "low": int(low),
        "high": int(high),
        "weakest": sides[model][0],
        "better_than": [other for other in order[place + 1 :] if real[model, other]],
      }
    )
  return out


def replicates(results, seed=0):
  """{model: {key of METRICS: (REPLICATES,) values on drawn people, or None}}; the draws are the
  same for all.
  """
  pooled = _pools(results)
  weights = {
    name: _draw(len(pool), np.random.default_rng([seed, number]))
    for number, (name, pool) in enumerate(pooled.items())
  }
  number_of = {name: {group: at for at, group in enumerate(pool)} for name, pool in pooled.items()}
  out = {}
  for result in results:
    found = {}
    for key, (values, group) in _CASES.items():
      pool = group if group in _STRANGERS else "people"
      cases = _cases(result, key, values, group)
      found[key] = cases and _means(*cases, number_of[pool], weights[pool])
    out[result["salmu_jax"]["model"]] = found
  return out


def over_seeds(tables, seed=0):
  """The models of tables that differ in the seed: mean, range and interval over seeds.

  In every replicate of the interval seeds are drawn, and people within them: those of the same
  number in every seed, so that people and classes that seeds share count once.

  Args:
    tables: [Table].

  Returns:
    {"seeds": [...], "models": {model: {key of METRICS or RECOVERABILITY: {"mean", "min", "max",
    "low", "high", "seeds": how many have the number}, or None}}}; None where there is one table, or
    they differ in more or in less. A model counts where method, settings and budget are those of
    the first table that has its name.
  """
  seeds = [results_lib.seed_of(table.results) for table in tables]
  if len(tables) < 2 or len({family(table) for table in tables}) > 1:
    return None
  if None in seeds or len(set(seeds)) < len(seeds):
    return None
  drawn = [replicates(table.results, seed) for table in tables]
  by_name = [{r["salmu_jax"]["model"]: r for r in table.results} for table in tables]
  rng = np.random.default_rng([seed, len(tables)])
  models = {}
  for name in dict.fromkeys(name for each in by_name for name in each):
    run = _run(next(each[name] for each in by_name if name in each))
    known = [
      (scores.flatten(each[name]) | scores.recoverability(each[name]), draws[name])
      for each, draws in zip(by_name, drawn, strict=True)
      if name in each and _run(each[name]) == run
    ]
    models[name] = {}
    for key in (*scores.METRICS, *scores.RECOVERABILITY):
      pairs = [(values[key], draws.get(key)) for values, draws in known if values[key] is not None]
      models[name][key] = _over(pairs, rng) if pairs else None
  return {"seeds": seeds, "models": models}


def _run(result):
  about = result["salmu_jax"]
  return [about[key] for key in ("method", "settings", "budget")]


def family(table):
  """What tables share that are seeds of one another: how their release and their judging were
  set up.
  """
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


_ENDS = [50 * (1 - LEVEL), 100 - 50 * (1 - LEVEL)]


def _over(known, rng):
  values = np.array([value for value, _ in known])
  out = {"mean": float(values.mean()), "min": float(values.min()), "max": float(values.max())}
  low = high = None
  if all(draws is not None for _, draws in known):
    table = np.stack([draws for _, draws in known])  # (S, R)
    chosen = rng.integers(len(known), size=table.shape)
    low, high = _ends(np.take_along_axis(table, chosen, axis=0).mean(axis=0))
  return {**out, "low": low, "high": high, "seeds": len(known)}


def _rows(result):
  """`additional.rows`; empty where the file lacks it."""
  return result["salmu_jax"].get("additional", {}).get("rows") or {}


def _ranks(result):
  return np.asarray(result["efficacy"]["1.1_RetFail"]["outcomes"], float)


def _cases(result, key, values, group):
  """(values, groups) of a metric's cases; None where the file lacks them, one has no number, or
  groups are few.
  """
  rows = _rows(result)
  if not rows or group not in rows["groups"] or rows["hits"].get(key, ()) is None:
    return None
  labels = rows["groups"][group]
  if key == "ACS":
    labels = [labels[row] for row in rows["ACS_rows"]]
  found = np.array(values(result), float)
  whole = np.isfinite(found).all() and len(found) == len(labels) and len(set(labels)) >= FEWEST
  return (found, labels) if whole else None


def _pools(results):
  """{"people", "fragile_set", "zero_shot": the groups that are drawn}, of all files that have
  rows.
  """
  out = {"people": {}, **{name: {} for name in _STRANGERS}}
  for result in results:
    for group, labels in _rows(result).get("groups", {}).items():
      out[group if group in _STRANGERS else "people"].update(dict.fromkeys(labels))
  return {name: sorted(pool) for name, pool in out.items()}


def _draw(count, rng):
  """(REPLICATES, count) how often each of the groups is drawn, `count` times with replacement."""
  if not count:
    return np.zeros((REPLICATES, 0))
  return rng.multinomial(count, np.full(count, 1 / count), REPLICATES).astype(float)


def _means(values, labels, number_of, weights):
  group = np.array([number_of[label] for label in labels])
  total = np.bincount(group, values, len(number_of))
  rows = np.bincount(group, minlength=len(number_of))
  with np.errstate(invalid="ignore"):
    return (weights @ total) / (weights @ rows)  # NaN where none of few groups is drawn


def _interval(draws):
  """[low, high] of one number; None where there are no draws, or too many of them miss all of
  its groups.
  """
  if draws is None or np.mean(np.isfinite(draws)) < LEVEL:
    return None
  return [float(x) for x in np.nanpercentile(draws, _ENDS)]


def _ends(draws):
  return _interval(draws) or (None, None)


def _sides(results, drawn):
  """{model: ({side: value}, {side: (R,)})} of the unlearned models that can be judged and have
  rows.
  """
  known = [scores.flatten(result) for result in results]
  out = {}
  for result, values in zip(results, known, strict=True):
    model = result["salmu_jax"]["model"]
    if result["salmu_jax"]["role"] != "unlearned":
      continue
    draws = [drawn[each["salmu_jax"]["model"]] for each in (result, *results[:2])]
    if leaderboard.obstacle(values, *known[:2]):
      continue
    if all(each[key] is not None for each in draws for key in _GAPS.values()):
      sides = {side: float(value) for side, value in _kept(values, *known[:2]).items()}
      out[model] = sides, {side: each for side, each in _kept(*draws).items() if side in sides}
  return out


# Side -> the metric whose gap between Compromised and Clean it is a share of.
_GAPS = {
  "leak_removed": "RetFail_MRR",
  "inter_kept": "InterIdSim",
  "intra_kept": "IntraIdSim",
}


def _kept(values, clean, compromised):
  """{side: how far it was reached; 1 is whole}, of numbers or of (R,) draws; NaN where there is
  no gap.
  """
  out = {}
  for side, key in _GAPS.items():
    kept = _share(np.asarray(values[key]) - clean[key], np.asarray(compromised[key]) - clean[key])
    out[side] = 1 - kept if side == "leak_removed" else kept
  if values["GenKnow"] is not None and compromised["GenKnow"] is not None:
    out["knowledge_kept"] = _share(values["GenKnow"], compromised["GenKnow"])
  return out


def _share(part, whole):
  with np.errstate(divide="ignore", invalid="ignore"):
    return np.where(np.asarray(whole) > 0, np.divide(part, whole), np.nan)


def _weakest(sides):
  """The least of all sides, each up to 1; NaN where one cannot be said."""
  return np.minimum(1, np.min(np.broadcast_arrays(*sides.values()), axis=0))


def _standing(draws):
  """(M, R) the rank of each model in every replicate, 1 is best; ties share the better rank."""
  if not draws:
    return np.zeros((0, REPLICATES))
  table = np.stack(draws)
  return 1 + np.sum(table[None, :, :] > table[:, None, :], axis=1)


def _real(sides):
  """{(better, worse): whether the difference is real}, for all pairs together: |d| > c se, c of
  max |t|.
  """
  names = list(sides)
  value = np.array([sides[name][0] for name in names])
  table = np.stack([sides[name][1] for name in names]) if names else np.zeros((0, REPLICATES))
  wide = simultaneous(table)
  return {
    (a, b): bool(abs(value[i] - value[j]) > wide[i, j])
    for i, a in enumerate(names)
    for j, b in enumerate(names)
  }


def simultaneous(table):
  """(M, M) half widths of intervals that hold all the M (M - 1) / 2 differences with probability
  LEVEL.

  Args:
    table: (M, R) replicates.
  """
  count = len(table)
  se, largest = np.zeros((count, count)), np.zeros(REPLICATES)
  for i in range(count):
    difference = table[i] - table  # (M, R)
    centre = np.nanmean(difference, axis=1)
    se[i] = np.nanstd(difference, axis=1)
    spread = np.abs(difference - centre[:, None])[se[i] > 0] / se[i][se[i] > 0][:, None]
    largest = np.maximum(largest, np.nan_to_num(spread).max(axis=0, initial=0))
  return np.percentile(largest, 100 * LEVEL) * se


def _pairs(results, drawn, order):
  """The differences of neighbours in the order, metric by metric."""
  values = {result["salmu_jax"]["model"]: scores.flatten(result) for result in results}
  out = []
  for key in scores.METRICS:
    known = [m for m in order if drawn[m][key] is not None and values[m][key] is not None]
    if not known:
      continue
    wide = simultaneous(np.stack([drawn[model][key] for model in known]))
    for at, (model, other) in enumerate(itertools.pairwise(known)):
      difference = values[model][key] - values[other][key]
      low, high = _ends(drawn[model][key] - drawn[other][key])
      out.append(
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
  return out
