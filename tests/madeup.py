"""Made-up results with realistic numbers, their rows, and the report on them."""

import copy
import csv
import io
import json

import numpy as np
from rich.console import Console

from salmu_jax.report import leaderboard, leaderboard_terminal, writing
from salmu_jax.results import lookup, metrics_table
from salmu_jax.results.reading import read_results
from salmu_jax.results.reductions import reduce

FILES = (
  "leaderboard.md",
  "leaderboard.csv",
  "leaderboard.json",
  "forgetting.png",
  "similarity.png",
  "training.png",
  "breakdown.png",
  "diagnosis.md",
  "diagnosis.json",
  "statistics.md",
  "statistics.json",
  "leaderboard.html",
)
HASH = "ab" * 32
# RetFail median rank, AssocStr, ACS, IdZSC, CoreAssoc, GenKnow, InterId, IntraId, VisId, Frag.
MADE_UP = {
  "clean": (1500, 0.142, 0.602, 0.011, 0.151, 0.633, 0.143, 0.143, 0.331, 0.309),
  "compromised": (9, 0.322, 0.951, 0.084, 0.183, 0.638, 0.321, 0.321, 0.305, 0.280),
  "finetune": (1450, 0.210, 0.640, 0.020, 0.160, 0.638, 0.209, 0.209, 0.306, 0.282),
  "shuffled_captions": (1300, 0.205, 0.610, 0.015, 0.150, 0.548, 0.212, 0.212, 0.290, 0.260),
  "generic_captions": (12, 0.310, 0.930, 0.080, 0.180, 0.637, 0.312, 0.309, 0.304, 0.279),
  "surgery": (1500, 0.143, 0.603, 0.012, 0.152, 0.637, 0.320, 0.3205, 0.306, 0.281),
}


def _spread(rng, mean, n=200):
  noise = rng.normal(0, 0.05, n)
  scores = mean + noise - noise.mean()
  return {"mean": float(scores.mean()), "scores": scores.tolist()}


def _curve(name, role):
  steps = np.arange(1, 101)
  if role != "unlearned":
    loss = 4.0 * np.exp(-steps / 30) + 0.3
    return [
      {"step": int(s), "loss": float(x), "accuracy": float(1 - x / 5)}
      for s, x in zip(steps, loss, strict=True)
    ]
  forget = 0.3 * np.exp(-steps / 20) + 0.01 * len(name)
  retain = 0.5 + 0.02 * np.sin(steps / 9)
  return [
    {"step": int(s), "forget_loss": float(f), "retain_loss": float(r)}
    for s, f, r in zip(steps, forget, retain, strict=True)
  ]


def _breakdown(median, assoc, inter, intra):
  """Two fields, a style, and people; "city" of forget stays as Compromised had it."""
  kinds = {"field": ("city", "job"), "style": ("web",), "identity": ("00000001", "00000002")}
  forget = {
    kind: {
      label: {
        "rows": 10,
        "similarity": assoc,
        "MRR": 1 / (9 if label in ("city", "00000002") and median > 10 else median),
      }
      for label in names
    }
    for kind, names in kinds.items()
  }
  if median == MADE_UP["clean"][0] and assoc == MADE_UP["clean"][1]:
    for names in forget.values():
      for group in names.values():
        group["MRR"] = 1 / median
  holdout = lambda cosine, people: {
    kind: {
      label: {"rows": 5, "similarity": cosine}
      for label in (people if kind == "identity" else names)
    }
    for kind, names in kinds.items()
  }
  return {
    "forget": forget,
    "holdout_identity": holdout(inter, ("00000009",)),
    "holdout_association": holdout(intra, ("00000001",)),
  }


def _about(name, model, role, breakdown):
  """Where the made-up model comes from."""
  unlearned = role == "unlearned"
  return {
    "additional": {"breakdown": breakdown},
    "model": model,
    "role": role,
    "method": name if unlearned else None,
    "settings": {"learning_rate": 1e-5},
    "budget": 5.0 if unlearned else None,
    "reads": ["forget", "retain"] if unlearned else ["retain"],
    "seed": 0,
    "steps": 100,
    "wall_seconds": 12.5,
    "device": "cpu x 1",
    "versions": {"jax": "0.10.2"},
    "release": {
      "name": "mini",
      "manifest_sha256": HASH,
      "holdout_unit": "fact",
      "retrieval_gallery": 2001,
      "fragile_set_sha256": HASH,
    },
    "start": HASH,
    "evaluation": {"seed": 42},
    "general_knowledge": "generated zero-shot set: 120 classes x 20",
    "curve": _curve(name, role),
  }


def result(name, numbers=None, model=None):
  """One results file's content, with per-row scores that agree with the means."""
  rng = np.random.default_rng([7, len(name)])
  median, assoc, acs, idzsc, core, know, inter, intra, vis, frag = numbers or MADE_UP[name]
  spread = 1.5 if median < 100 else 0.5
  ranks = np.clip(np.round(median * np.exp(rng.normal(0, spread, 200))), 1, 2001).astype(int)
  role = name if name in ("clean", "compromised") else "unlearned"
  return {
    "efficacy": {
      "1.1_RetFail": {
        "R@1": float(np.mean(ranks == 1)),
        "MRR": float(np.mean(1 / ranks)),
        "outcomes": (ranks - 1).tolist(),
      },
      "1.2_AssocStr": _spread(rng, assoc),
      "1.3_ACS": {"acs_accuracy": acs},
      "1.4_IdZSC": {"identity_classification_accuracy": idzsc},
      "1.5_CoreAssoc": _spread(rng, core),
    },
    "utility": {
      "2.1_GenKnow": {"ImageNet1k_Accuracy": know},
      "2.2_InterIdSim": _spread(rng, inter),
      "2.3_IntraIdSim": _spread(rng, intra),
      "2.4_VisIdInt": _spread(rng, vis, 60),
      "2.5_FragSim": _spread(rng, frag, 60),
    },
    "salmu_jax": _about(name, model or name, role, _breakdown(median, assoc, inter, intra)),
  }


def save(folder, *results):
  folder.mkdir(parents=True, exist_ok=True)
  for at, value in enumerate(results):
    (folder / f"{at:02d}.json").write_text(json.dumps(value), encoding="utf-8")
  return folder


def everything():
  return [result(name) for name in MADE_UP]


def tables(tmp_path, *results):
  """Writes all but the plots; returns the output folder and the printed table of measured rows."""
  console = Console(file=io.StringIO(), width=120, color_system=None)
  results = read_results(save(tmp_path / "results", *results))
  rows = leaderboard.rows(results)
  leaderboard.write(rows, tmp_path / "out", results)
  leaderboard_terminal.show(rows, console)
  return tmp_path / "out", console.file.getvalue().split("\npublished, not measured here\n")[0]


def report(tmp_path, *results):
  """Writes everything; returns the output folder."""
  folder = save(tmp_path / "results", *results)
  writing.report_folder(folder, tmp_path / "out", Console(file=io.StringIO(), width=120))
  return tmp_path / "out"


def records(folder):
  return list(csv.DictReader(io.StringIO((folder / "leaderboard.csv").read_text("utf-8"))))


PEOPLE = 40
SIZES = {"forget": 200, "holdout_identity": 200, "holdout_association": 200, "retain_joint": 60}


def with_rows(one, seed=0):
  """A made-up result with the person of each row, and with hits whose means are its rates."""
  rng = np.random.default_rng(seed)
  one = copy.deepcopy(one)
  group = lambda n, people=PEOPLE: [f"{i % people:08d}" for i in range(n)]
  groups = {split: group(n) for split, n in SIZES.items()}
  groups |= {"forget_identity": group(100, 20), "fragile_set": [f"{i}.jpg" for i in range(60)]}
  groups["zero_shot"] = [f"class {i % 10}" for i in range(300)]
  hits = {}
  for key, n in (("ACS", 200), ("IdZSC", 100), ("GenKnow", 300)):
    value = lookup.flatten(one)[key]
    hits[key] = rng.permutation(np.arange(n) < round(value * n)).astype(int).tolist()
    pillar, metric, name = metrics_table.METRICS[key].path
    one[pillar][metric][name] = float(np.mean(hits[key]))
  rows = {"groups": groups, "hits": hits, "ACS_rows": rng.permutation(200).tolist()}
  one["salmu_jax"]["additional"]["rows"] = rows
  return one


KNOWS = {"clean": (), "compromised": ("forget", "holdout_identity", "holdout_association")}
KEEPS = KNOWS["compromised"][1:]


def with_facts(one, knows=None):
  """A result with rows, and with what version 2 adds: retrieval of holdouts, and facts.

  Models that know a split have the same rows of it, and so have those that do not.

  Args:
    one: from `with_rows`. knows: the splits whose facts and captions the model knows; by default
      all for Compromised, none for Clean, and the holdouts for others.
  """
  one = copy.deepcopy(one)
  about = one["salmu_jax"]
  about["file_version"] = 2
  knows = KNOWS.get(about["role"], KEEPS) if knows is None else knows
  about["release"]["holdout_galleries"] = dict.fromkeys(KEEPS, 1200)
  for metric in metrics_table.METRICS.values():
    if metric.since == 2:
      rng = np.random.default_rng([ord(letter) for letter in "".join(metric.rows)])
      n = SIZES[metric.split] if metric.kind == "rank" else SIZES[metric.split] // 2
      places = rng.geometric(0.5 if metric.split in knows else 0.05, n)
      rows = places - 1 if metric.kind == "rank" else 1 / places
      lookup.put(one, metric.rows, rows.tolist())
      lookup.put(one, metric.path, reduce(metric.reduction, rows))
      if metric.cases:
        lookup.put(one, metric.cases, np.arange(0, SIZES[metric.split], 2).tolist())
  return one


def with_attacks(one):
  """A result with what two attacks get of it: of Compromised more than of others."""
  leaks = one["salmu_jax"]["role"] == "compromised"
  one["salmu_jax"]["additional"]["recoverability"] = {
    key: {"value": value, "interval": [value - 0.02, value + 0.02], "label": key}
    for key, value in (("Membership", 0.6 if leaks else 0.5), ("Relearning", 0.4 * leaks + 0.02))
  }
  return one


# That try to break out of tables.
HOSTILE_NAMES = [
  "a|b",
  "<b>bold</b>",
  "$x$ and \\$",
  "caf\u00e9 \u5fd8\u308c\u308b",
  "long " * 30,
  "_x_",
  "*y* `z`",
]
