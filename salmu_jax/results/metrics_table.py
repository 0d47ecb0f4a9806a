"""The metrics table: one row owns everything about a metric but how its rows are measured.

Evaluator, row checks, schema, statistics, plots, breakdown, page, diagnosis and submissions derive
from this table. A metric needs a row here and, where no function of `salmu_jax.evaluate.measures`
gives its rows, such a function.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from salmu_jax.errors import InputError
from salmu_jax.results.splits import SPLITS, ZERO_SHOT

Path = tuple[str, ...]

ADDITIONAL = ("salmu_jax", "additional")
_HITS = (*ADDITIONAL, "rows", "hits")


class Metric(NamedTuple):
  """One number of a results file.

  Attributes:
    id: its name in the results file; that of the released evaluator where that has the metric.
    name: what it measures, for tables and pages.
    path: keys that lead to the number in a results file. Numbers that the released evaluator does
      not have are at `own_path(id, key)`.
    rows: keys that lead to the rows that the number is a reduction of.
    kind: what a row is: "rank" (0 is best), "cosine" or "hit" (1 or 0).
    split: the split that the rows are of, a key of `splits.SPLITS`.
    measure: what gives the rows, a key of `salmu_jax.evaluate.measures.MEASURES`.
    reduction: from rows to the number, a key of `reductions.REDUCTIONS`.
    bound: "clean" or "compromised": the model whose value is aimed at.
    better: "lower" (down to the bound), "higher" (up to the bound) or "floor" (anything at or
      above the bound is as good).
    about: what the rows are, for the schema.
    part: its name in the breakdown by field, style and person; "" where it is not broken down.
    cases: keys that lead to the row of `split` that each entry of `rows` is of; () where they are
      the rows of the split in their order.
    absent: what the released evaluator writes for a number that it could not measure; None for a
      metric that is always measured.
    since: the first version of the results file that has to hold it.
  """

  id: str
  name: str
  path: Path
  rows: Path
  kind: str
  split: str
  measure: str
  reduction: str
  bound: str
  better: str
  about: str
  part: str = ""
  cases: Path = ()
  absent: float | None = None
  since: int = 1


def own_path(id: str, key: str) -> Path:
  """Where a results file holds a number, or rows, that the released evaluator does not have."""
  return (*ADDITIONAL, "metrics", id, key)


def _retrieval(key: str, name: str) -> Metric:
  id = "1.1_RetFail"
  return Metric(
    id,
    name,
    path=("efficacy", id, key),
    rows=("efficacy", id, "outcomes"),
    kind="rank",
    split="forget",
    measure="retrieval_ranks",
    reduction=key,
    bound="clean",
    better="lower",
    about="retrieval of the leaked caption by its picture, among `release.retrieval_gallery` "
    "captions",
    part="MRR" if key == "MRR" else "",
  )


def _similarity(id: str, name: str, split: str, about: str, **changes: Any) -> Metric:
  """A mean cosine, in the layout of the released evaluator; kept as high as Compromised's."""
  pillar = "efficacy" if id[0] == "1" else "utility"
  similarity = Metric(
    id,
    name,
    path=(pillar, id, "mean"),
    rows=(pillar, id, "scores"),
    kind="cosine",
    split=split,
    measure="pair_similarity",
    reduction="mean",
    bound="compromised",
    better="higher",
    about=about,
  )
  return similarity._replace(**changes)


def _accuracy(key: str, id: str, name: str, path: Path, **rest: Any) -> Metric:
  """A share of hits, which are told apart for intervals."""
  return Metric(id, name, path, rows=(*_HITS, key), kind="hit", reduction="mean", **rest)


_DOWN_TO_CLEAN = {"bound": "clean", "better": "lower"}
_UP_TO_COMPROMISED = {"bound": "compromised", "better": "higher"}

METRICS = {
  "RetFail_R@1": _retrieval("R@1", "Retrieval of the leaked caption, R@1"),
  "RetFail_MRR": _retrieval("MRR", "Retrieval of the leaked caption, MRR"),
  "AssocStr": _similarity(
    "1.2_AssocStr",
    "Similarity of the pairs to forget",
    "forget",
    "cosines of picture and caption, of each row of forget",
    part="similarity",
    **_DOWN_TO_CLEAN,
  ),
  "ACS": _accuracy(
    "ACS",
    "1.3_ACS",
    "Accuracy of a probe for true pairs",
    ("efficacy", "1.3_ACS", "acs_accuracy"),
    split="forget",
    measure="association_probe_hits",
    about="accuracy of a linear probe that tells true pairs of forget from mismatched ones",
    cases=(*ADDITIONAL, "rows", "ACS_rows"),
    **_DOWN_TO_CLEAN,
  ),
  "IdZSC": _accuracy(
    "IdZSC",
    "1.4_IdZSC",
    "Zero-shot naming of the person",
    ("efficacy", "1.4_IdZSC", "identity_classification_accuracy"),
    split="forget_identity",
    measure="naming_hits",
    about="zero-shot naming of the people of forget_identity",
    **_DOWN_TO_CLEAN,
  ),
  "CoreAssoc": _similarity(
    "1.5_CoreAssoc",
    "Similarity to name and value alone",
    "forget",
    "cosines of picture and bare name with value, the better of both orders, of each row of forget",
    measure="core_similarity",
    **_DOWN_TO_CLEAN,
  ),
  "GenKnow": _accuracy(
    "GenKnow",
    "2.1_GenKnow",
    "General knowledge, zero-shot",
    ("utility", "2.1_GenKnow", "ImageNet1k_Accuracy"),
    split=ZERO_SHOT,
    measure="zero_shot_hits",
    about="zero-shot accuracy on what `general_knowledge` names",
    absent=-1,
    **_UP_TO_COMPROMISED,
  ),
  "InterIdSim": _similarity(
    "2.2_InterIdSim",
    "Similarity of pairs of other people",
    "holdout_identity",
    "cosines of picture and caption, of each row of holdout_identity",
    part="similarity",
  ),
  "IntraIdSim": _similarity(
    "2.3_IntraIdSim",
    "Similarity of other pairs of the same people",
    "holdout_association",
    "cosines of picture and caption, of each row of holdout_association",
    part="similarity",
  ),
  # Clean scores higher than Compromised on these two, so rising above Compromised is no harm.
  "VisIdInt": _similarity(
    "2.4_VisIdInt",
    "Generic captions of the same people",
    "retain_joint",
    "cosines of picture and generic caption, of each row of retain_joint",
    better="floor",
  ),
  "FragSim": _similarity(
    "2.5_FragSim",
    "Fragile generic captions",
    "fragile_set",
    "cosines of picture and generic caption, of each row of the fragile set",
    better="floor",
  ),
}


def file_version() -> int:
  """The version of the results files that this table and the table of splits describe."""
  return max(row.since for row in (*METRICS.values(), *SPLITS.values()))


def version_of(result: Any) -> int:
  """The version of a results file; files of the first do not state it."""
  version = rows_at(result, ("salmu_jax", "file_version"))
  return version if isinstance(version, int) else 1


def required(metric: Metric, result: Mapping) -> bool:
  """Whether a results file has to hold a metric; an older file may lack it."""
  return metric.since <= version_of(result)


def plotted() -> dict[str, Metric]:
  """The pair similarities whose distributions are drawn, by key."""
  return {
    key: metric
    for key, metric in METRICS.items()
    if metric.measure == "pair_similarity" and SPLITS[metric.split].plotted
  }


def flatten(results: Mapping) -> dict[str, float | None]:
  """The metrics of one results file, by the keys of METRICS.

  Args:
    results: the parsed JSON, in the released evaluator's shape; other keys are ignored.

  Returns:
    {key of METRICS: float, or None where the file has no number}. Where the released evaluator says
    that it measured nothing (`Metric.absent`), that is None too.

  Raises:
    InputError: a section is missing or a value is not a number.
  """
  for section in ("efficacy", "utility"):
    if not isinstance(results.get(section), Mapping):
      raise InputError(
        f"results: no section {section!r}, found {', '.join(map(repr, results)) or 'nothing'}; a "
        "results file has the sections 'efficacy' and 'utility'."
      )
  values = {key: number_at(results, metric.path) for key, metric in METRICS.items()}
  return {
    key: None if value is not None and value == METRICS[key].absent else value
    for key, value in values.items()
  }


def number_at(results: Mapping, path: Path) -> float | None:
  """The number that a path leads to; None where a key is missing or the value is null.

  Raises:
    InputError: there is something else than a number, or no object on the way.
  """
  value = results
  for depth, key in enumerate(path):
    if not isinstance(value, Mapping):
      raise InputError(
        f"results: {'/'.join(path[:depth])} is {value!r}; it is an object with the key {key!r}."
      )
    value = value.get(key)
    if value is None:
      return None
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise InputError(f"results: {'/'.join(path)} is {value!r}; it is a number or null.")
  return float(value)


def rows_at(results: Any, path: Path) -> Any:
  """What a path leads to, as the rows of a metric; None where the file lacks it."""
  value = results
  for key in path:
    value = value.get(key) if isinstance(value, Mapping) else None
  return value


def put(results: dict, path: Path, value: Any) -> None:
  """Sets the value at a path, making the objects on the way."""
  for key in path[:-1]:
    results = results.setdefault(key, {})
  results[path[-1]] = value


def distance(
  metric: Metric, value: float | None, clean: float | None, compromised: float | None
) -> float | None:
  """How far a value is from what the metric is judged by.

  Args:
    metric: a row of METRICS. value: the model's. clean, compromised: the bounds' values.

  Returns:
    value minus the bound, or None where either is missing.
  """
  bound = {"clean": clean, "compromised": compromised}[metric.bound]
  return None if value is None or bound is None else value - bound


def distances(
  values: Mapping[str, float | None],
  clean: Mapping[str, float | None],
  compromised: Mapping[str, float | None],
) -> dict[str, float | None]:
  """The `distance` of every metric, from the values of a model and of its two bounds."""
  return {
    key: distance(metric, values[key], clean[key], compromised[key])
    for key, metric in METRICS.items()
  }


def compat(results: Mapping) -> dict[str, dict]:
  """Results in exactly the released evaluator's layout, with its word for what is not measured."""
  released = {pillar: dict(results[pillar]) for pillar in ("efficacy", "utility")}
  for metric in METRICS.values():
    if metric.absent is not None and number_at(results, metric.path) is None:
      pillar, id, key = metric.path
      released[pillar][id] = {**released[pillar][id], key: metric.absent}
  return released
