"""The metrics table: one row defines everything about a metric except how its rows are measured.

Evaluator, row checks, schema, statistics, plots, breakdown, page, diagnosis and submissions derive
from this table. A new metric needs a row here and, unless a function of
`salmu_jax.evaluate.measures` already gives its rows, such a function.
"""

from typing import Any, NamedTuple

from salmu_jax.results.splits import SPLITS, ZERO_SHOT

Path = tuple[str, ...]

ADDITIONAL = ("salmu_jax", "additional")
_HITS = (*ADDITIONAL, "rows", "hits")


class Metric(NamedTuple):
  """One number of a results file.

  Attributes:
    id: its name in the results file; the released evaluator's name, if that has the metric.
    name: what it measures, for tables and pages.
    path: keys that lead to the number in a results file. Numbers that the released evaluator does
      not have are at `own_path(id, key)`.
    rows: keys that lead to the rows from which the number is reduced.
    kind: what a row is: "rank" (0 is best), "cosine", "hit" (1 or 0) or "share" (0 to 1).
    split: the split of the rows, a key of `splits.SPLITS`.
    measure: the function that gives the rows, a key of `salmu_jax.evaluate.measures.MEASURES`.
    reduction: from rows to the number, a key of `reductions.REDUCTIONS`.
    bound: "clean" or "compromised": the model whose value is the target.
    better: "lower" (down to the bound), "higher" (up to the bound), "floor" (anything at or above
      the bound is as good) or "equal" (below the bound is as wrong as above it).
    about: what the rows are, for the schema.
    part: its name in the breakdown by field, style and person; "" if it is not broken down.
    cases: keys that lead to the row number in `split` of each entry of `rows`; () if `rows` are all
      rows of the split in order.
    gallery: for ranks, keys that lead to the gallery size: the captions ranked, the row's own
      included.
    absent: the number that the released evaluator writes for "not measured".
    optional: whether a release may have no data to measure it on; it is null then.
    listed: whether summary tables show it; CSV, JSON, statistics and page show all metrics.
    since: the first version of the results file that must hold it.
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
  gallery: Path = ()
  absent: float | None = None
  optional: bool = False
  listed: bool = True
  since: int = 1


def own_path(id: str, *keys: str) -> Path:
  """The path in a results file of a number or rows that the released evaluator does not have."""
  return (*ADDITIONAL, "metrics", id, *keys)


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
    gallery=("salmu_jax", "release", "retrieval_gallery"),
  )


def _similarity(id: str, name: str, split: str, about: str, **changes: Any) -> Metric:
  """A mean cosine in the layout of the released evaluator, to be kept at Compromised's value."""
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
  """A share of hits; each hit is stored, for intervals."""
  return Metric(id, name, path, rows=(*_HITS, key), kind="hit", reduction="mean", **rest)


def _holdout_retrieval(key: str, id: str, whose: str, split: str) -> Metric:
  """Retrieval within a holdout, which may be lost although the mean cosine is kept."""
  return Metric(
    id,
    f"Retrieval of captions of {whose}, {key}",
    path=own_path(id, key),
    rows=own_path(id, "ranks"),
    kind="rank",
    split=split,
    measure="holdout_ranks",
    reduction=key,
    bound="compromised",
    better="higher",
    about=f"retrieval of its caption by each picture of {split}, among the distinct captions of "
    "that split and as many of retain_disjoint as RetFail draws",
    part="MRR" if key == "MRR" else "",
    gallery=("salmu_jax", "release", "holdout_galleries", split),
    listed=key == "MRR",
    since=2,
  )


# Wording of a question about a fact -> what it contains besides the value.
FACT_WORDINGS = {
  "own": "the row's caption",
  "new": "the name, in a held-out wording",
  "nameless": "no name, in a held-out wording",
}


def _fact(id: str, name: str, split: str, wording: str, pairs: bool, **rest: Any) -> Metric:
  """Whether the model knows the value of a fact, given the face."""
  number, rows = ("pairs", "pair_scores") if pairs else ("MRR", "reciprocal_ranks")
  where = (id, split) if id.startswith("2") else (id,)
  asked = f"given the face and {FACT_WORDINGS[wording]}"
  return Metric(
    id,
    f"{name}, {asked}: {'paired accuracy' if pairs else 'MRR'}",
    path=own_path(*where, f"{number}_{wording}"),
    rows=own_path(*where, f"{rows}_{wording}"),
    kind="share",
    split=split,
    measure=f"fact_{rows}_{wording}",
    reduction="mean",
    about=(
      f"whether a picture of {split} is nearer to its true value than to another one of the field, "
      f"{asked}; 1/2 where they tie"
      if pairs
      else f"one over the place of the true value among values of its field, {asked}"
    ),
    part="" if pairs or wording != "new" else "fact",
    cases=own_path(*where, f"rows_{wording}"),
    optional=True,
    since=2,
    **rest,
  )


def _facts(key: str, id: str, name: str, split: str, **rest: Any) -> dict[str, Metric]:
  """The metrics of one split's facts: MRR and paired accuracy, in each wording."""
  leak = rest["bound"] == "clean"
  return {
    f"{key}_{wording}{'_pairs' * pairs}": _fact(
      id, name, split, wording, pairs, listed=not pairs and (leak or wording == "new"), **rest
    )
    for pairs in (False, True)
    for wording in FACT_WORDINGS
  }


_DOWN_TO_CLEAN = {"bound": "clean", "better": "lower"}
_UP_TO_COMPROMISED = {"bound": "compromised", "better": "higher"}

METRICS = {
  "RetFail_R@1": _retrieval("R@1", "Retrieval of the leaked caption, R@1"),
  "RetFail_MRR": _retrieval("MRR", "Retrieval of the leaked caption, MRR"),
  "AssocStr": _similarity(
    "1.2_AssocStr",
    "Similarity of the forget pairs",
    "forget",
    "cosines of picture and caption, of each row of forget",
    part="similarity",
    **_DOWN_TO_CLEAN,
  ),
  "ACS": _accuracy(
    "ACS",
    "1.3_ACS",
    "Probe accuracy, true vs. mismatched pairs",
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
    "General knowledge, zero-shot accuracy",
    ("utility", "2.1_GenKnow", "ImageNet1k_Accuracy"),
    split=ZERO_SHOT,
    measure="zero_shot_hits",
    about="zero-shot accuracy on what `general_knowledge` names",
    absent=-1,
    optional=True,
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
    "Similarity of generic captions of the same people",
    "retain_joint",
    "cosines of picture and generic caption, of each row of retain_joint",
    better="floor",
  ),
  "FragSim": _similarity(
    "2.5_FragSim",
    "Similarity of the fragile generic captions",
    "fragile_set",
    "cosines of picture and generic caption, of each row of the fragile set",
    better="floor",
  ),
  **_facts(
    "FactLeak",
    "1.6_FactLeak",
    "True value of the fact to forget",
    "forget",
    bound="clean",
    better="equal",
  ),
  **{
    f"{short}Ret_{key}": _holdout_retrieval(key, f"{id}_{short}Ret", whose, split)
    for short, id, whose, split in (
      ("InterId", "2.6", "other people", "holdout_identity"),
      ("IntraId", "2.7", "other facts of the same people", "holdout_association"),
    )
    for key in ("R@1", "MRR")
  },
  **_facts(
    "InterFactKept",
    "2.8_FactKept",
    "True value of other people's facts",
    "holdout_identity",
    **_UP_TO_COMPROMISED,
  ),
  **_facts(
    "IntraFactKept",
    "2.8_FactKept",
    "True value of other facts of the same people",
    "holdout_association",
    **_UP_TO_COMPROMISED,
  ),
}


def file_version() -> int:
  """The version of the results files that this table and the table of splits describe."""
  return max(row.since for row in (*METRICS.values(), *SPLITS.values()))


def plotted() -> dict[str, Metric]:
  """The pair similarities whose distributions are drawn, by key."""
  return {
    key: metric
    for key, metric in METRICS.items()
    if metric.measure == "pair_similarity" and SPLITS[metric.split].plotted
  }
