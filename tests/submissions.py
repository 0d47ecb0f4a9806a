"""Results files to submit, made of the kept ones: with the rows that older versions left out."""

import copy
import json
import pathlib

import pytest

from salmu_jax.errors import InputError
from salmu_jax.report import submit
from salmu_jax.results import breakdown, lookup
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.results.reductions import reduce
from salmu_jax.runtime import files

KEPT = pathlib.Path(__file__).parents[1] / "experiments/mini/results"
NAMES = sorted(path.stem for path in KEPT.glob("*.json"))
SPLITS = {  # of the small release: rows
  "forget": 40,
  "holdout_association": 20,
  "holdout_identity": 16,
  "forget_identity": 24,
  "retain_joint": 8,
  "fragile_set": 6,
  "zero_shot": 30,
}
SCORES = {
  "AssocStr": "forget",
  "CoreAssoc": "forget",
  "InterIdSim": "holdout_identity",
  "IntraIdSim": "holdout_association",
  "VisIdInt": "retain_joint",
  "FragSim": "fragile_set",
}


def at(result, *keys):
  for key in keys:
    result = result[key]
  return result


def put(result, *keys, value):
  at(result, *keys[:-1])[keys[-1]] = value


def with_rows(result, groups):
  """Adds the rows that older kept results lack: `groups`, and hits whose means are the rates."""
  rates = {key: at(result, *METRICS[key].path) for key in ("ACS", "IdZSC", "GenKnow")}
  count = {"ACS": "forget", "IdZSC": "forget_identity", "GenKnow": "zero_shot"}
  hits = {}
  for key, rate in rates.items():
    size = len(groups[count[key]])
    right = round(rate * size)
    hits[key] = [1] * right + [0] * (size - right)
  result["salmu_jax"]["surrogates"] = None
  result["salmu_jax"]["additional"]["rows"] = {
    "groups": groups,
    "hits": hits,
    "ACS_rows": [row // 2 for row in range(len(groups["forget"]))],
  }


def whole(name):
  """Kept results, at full size; people are made up, in blocks as large as theirs."""
  result = files.read_json(KEPT / f"{name}.json")
  release, parts = (result["salmu_jax"][key] for key in ("release", "additional"))
  parts = parts["breakdown"]
  groups = {
    split: [person for person, part in kinds["identity"].items() for _ in range(part["rows"])]
    for split, kinds in parts.items()
  }
  for split, count in {**release["counts"], **release["derived"]}.items():
    if split in SPLITS and split not in groups:
      groups[split] = [f"row {row}" for row in range(count)]
  people = {split: {"identity": groups[split]} for split in parts}
  for split, kinds in breakdown.measure(result, people).items():
    parts[split] |= kinds
  with_rows(result, groups)
  return result


def small(name, model=None):
  """Kept results cut to a few rows, with their numbers computed anew."""
  result = files.read_json(KEPT / f"{name}.json")
  for key, split in SCORES.items():
    pillar, metric, _ = METRICS[key].path
    scores = result[pillar][metric]["scores"][: SPLITS[split]]
    result[pillar][metric] = {"mean": sum(scores) / len(scores), "scores": scores}
  ranks = result["efficacy"]["1.1_RetFail"]["outcomes"][: SPLITS["forget"]]
  result["efficacy"]["1.1_RetFail"] = {
    "R@1": ranks.count(0) / len(ranks),
    "MRR": sum(1 / (1 + rank) for rank in ranks) / len(ranks),
    "outcomes": ranks,
  }
  original = copy.deepcopy(result)
  for metric in METRICS.values():
    if metric.since > 1:
      cut(result, original, metric)
  groups = {
    split: [f"person {row // 4}" for row in range(count)] for split, count in SPLITS.items()
  }
  with_rows(result, groups)
  hits = result["salmu_jax"]["additional"]["rows"]["hits"]
  for key, outcomes in hits.items():
    put(result, *METRICS[key].path, value=sum(outcomes) / len(outcomes))
  labels = {
    split: {
      "field": [("city", "job")[row % 2] for row in range(SPLITS[split])],
      "identity": groups[split],
    }
    for split in ("forget", "holdout_identity", "holdout_association")
  }
  about = result["salmu_jax"]
  about["additional"]["breakdown"] = breakdown.measure(result, labels)
  for counts in (about["release"]["counts"], about["release"]["derived"]):
    counts |= {split: count for split, count in SPLITS.items() if split in counts}
  about["model"] = model or name
  return result


def cut(result, whole, metric):
  """Cuts a metric that is not the released evaluator's to the rows of the small release."""
  rows, count = lookup.rows_at(whole, metric.rows), SPLITS[metric.split]
  rows = rows[: count // 2 if metric.cases else count]
  if metric.cases:  # every second row was asked
    lookup.put(result, metric.cases, [2 * at for at in range(len(rows))])
  lookup.put(result, metric.rows, rows)
  lookup.put(result, metric.path, reduce(metric.reduction, rows))


def example(**changes):
  return {
    "split": "forget",
    "file_name": "0.jpg",
    "name": "A B",
    "caption": "A B is here",
    "rank": 3,
    "cosine": 0.2,
    "top": [{"text": "C D is there", "cosine": 0.4}],
    "portrait": "data:image/jpeg;base64,/9j/4AAQ",
    **changes,
  }


PERSON = "salmu_jax.additional.breakdown.forget.identity.person 0"
SMALL = {name: small(name) for name in ("clean", "compromised", "finetune")}
MINE = small("vlunlearn", "mine")


def content(folder):
  return {path.name: path.read_bytes() for path in folder.rglob("*")}


def refused(board, result):
  """The lines of the refusal, by field; the folder stays as it was."""
  path = board.parent / "submitted.json"
  path.write_text(result if isinstance(result, str) else json.dumps(result), "utf-8")
  before = content(board)
  with pytest.raises(InputError) as caught:
    submit.submit(path, board)
  assert content(board) == before
  head, *lines = str(caught.value).split("\n")
  assert head.startswith(f"{path} is not added to {board}, for ")
  for line in lines:
    assert "; " in line or line.startswith("(and "), line
  return dict(line.split(": ", 1) for line in lines if line[0] != "(")


def changed(*keys, value):
  result = copy.deepcopy(MINE)
  put(result, *keys, value=value)
  return result
