"""The benchmark's numbers as data: where a results JSON holds them and what they are judged by."""

from typing import NamedTuple

from salmu_jax.errors import InputError


class Metric(NamedTuple):
  """One number of a results JSON (protocol section 3).

  Attributes:
    id: name of the metric in the released evaluator's JSON.
    name: what the metric measures, for tables and pages.
    path: keys that lead to the number in a results JSON.
    bound: "clean" or "compromised": the model whose value is aimed at.
    better: "lower" (down to the bound), "higher" (up to the bound) or "floor" (anything at or
      above the bound is as good).
  """

  id: str
  name: str
  path: tuple[str, ...]
  bound: str
  better: str


def _efficacy(id, name, key):
  return Metric(id, name, ("efficacy", id, key), "clean", "lower")


def _utility(id, name, key="mean", better="higher"):
  return Metric(id, name, ("utility", id, key), "compromised", better)


METRICS = {
  "RetFail_R@1": _efficacy("1.1_RetFail", "Retrieval of the leaked caption, R@1", "R@1"),
  "RetFail_MRR": _efficacy("1.1_RetFail", "Retrieval of the leaked caption, MRR", "MRR"),
  "AssocStr": _efficacy("1.2_AssocStr", "Similarity of the pairs to forget", "mean"),
  "ACS": _efficacy("1.3_ACS", "Accuracy of a probe for true pairs", "acs_accuracy"),
  "IdZSC": _efficacy(
    "1.4_IdZSC", "Zero-shot naming of the person", "identity_classification_accuracy"
  ),
  "CoreAssoc": _efficacy("1.5_CoreAssoc", "Similarity to name and value alone", "mean"),
  "GenKnow": _utility("2.1_GenKnow", "General knowledge, zero-shot", "ImageNet1k_Accuracy"),
  "InterIdSim": _utility("2.2_InterIdSim", "Similarity of pairs of other people"),
  "IntraIdSim": _utility("2.3_IntraIdSim", "Similarity of other pairs of the same people"),
  # Clean scores higher than Compromised on these two, so rising above Compromised is no harm.
  "VisIdInt": _utility("2.4_VisIdInt", "Generic captions of the same people", better="floor"),
  "FragSim": _utility("2.5_FragSim", "Fragile generic captions", better="floor"),
}


def _attack(key, name):
  path = ("salmu_jax", "additional", "recoverability", key, "value")
  return Metric(key, name, path, "clean", "lower")


# The third pillar, this project's own: what an attacker gets back, see evaluate/attacks.py.
RECOVERABILITY = {
  "Relearning": _attack("Relearning", "Retrieval after learning a few forget pairs again"),
  "Membership": _attack("Membership", "Telling forget pairs from changed ones, AUC"),
  "Readout": _attack("Readout", "Reading private values off pictures, linear probe"),
  "Rephrasing": _attack("Rephrasing", "Retrieval by the wording that serves best"),
  "Gallery": _attack("Gallery", "Picking name and value among all of both, MRR"),
}


def recoverability(results):
  """What attacks get of one results JSON: {key of RECOVERABILITY: float, or None where not
  attacked}.
  """
  return {key: _number(results, metric.path) for key, metric in RECOVERABILITY.items()}


def flatten(results):
  """The metrics of one results JSON, by the keys of `METRICS`.

  Args:
    results: the parsed JSON, in the released evaluator's shape; other keys are ignored.

  Returns:
    {key of METRICS: float, or None where the JSON has no number}. A general knowledge of -1, which
    the released evaluator writes when it is given no ImageNet, is None.

  Raises:
    InputError: a section is missing or a value is not a number.
  """
  for section in ("efficacy", "utility"):
    if not isinstance(results.get(section), dict):
      raise InputError(
        f"results: no section {section!r}, found {', '.join(map(repr, results)) or 'nothing'}; a "
        "results file has the sections 'efficacy' and 'utility'."
      )
  flat = {key: _number(results, metric.path) for key, metric in METRICS.items()}
  if flat["GenKnow"] == -1:
    flat["GenKnow"] = None
  return flat


def distance(metric, value, clean, compromised):
  """How far a value is from what the metric is judged by.

  Args:
    metric: a Metric.
    value: float or None, the model's value.
    clean: float or None, the Clean model's value.
    compromised: float or None, the Compromised model's value.

  Returns:
    value minus the bound, or None where either is missing.
  """
  bound = {"clean": clean, "compromised": compromised}[metric.bound]
  return None if value is None or bound is None else value - bound


def _number(results, path):
  value = results
  for depth, key in enumerate(path):
    if not isinstance(value, dict):
      raise InputError(
        f"results: {'/'.join(path[:depth])} is {value!r}; it is an object with the key {key!r}."
      )
    value = value.get(key)
    if value is None:
      return None
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise InputError(f"results: {'/'.join(path)} is {value!r}; it is a number or null.")
  return float(value)
