"""Leaderboard and plots from made-up results with realistic numbers."""

import json

import numpy as np

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


def result(name, numbers=None, model=None):
  """One results file's content, with per-row scores that agree with the means."""
  rng = np.random.default_rng([7, len(name)])
  median, assoc, acs, idzsc, core, know, inter, intra, vis, frag = numbers or MADE_UP[name]
  spread = 1.5 if median < 100 else 0.5
  ranks = np.clip(np.round(median * np.exp(rng.normal(0, spread, 200))), 1, 2001).astype(int)
  role = name if name in ("clean", "compromised") else "unlearned"
  unlearned = role == "unlearned"
  return {
    "efficacy": {
      "1.1_RetFail": {
        "R@1": float(np.mean(ranks == 1)),
        "MRR": float(np.mean(1 / ranks)),
        "outcomes": ranks.tolist(),
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
    "salmu_jax": {
      "model": model or name,
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
      },
      "general_knowledge": "generated zero-shot set: 120 classes x 20",
      "curve": _curve(name, role),
    },
  }


def save(folder, *results):
  folder.mkdir(parents=True, exist_ok=True)
  for at, value in enumerate(results):
    (folder / f"{at:02d}.json").write_text(json.dumps(value), encoding="utf-8")
  return folder
