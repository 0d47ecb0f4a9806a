"""The noise floor of mini: the spread of models that differ only in their seed.

It is the standard deviation over the Compromised models of experiments/clean_seeds, or of
experiments/meta for attacks. Every function returns {} if the study was not run.
"""

from collections.abc import Mapping

import numpy as np

from experiments.clean_seeds import study as clean_seeds
from experiments.meta import study as meta
from salmu_jax.attacks import ATTACKS
from salmu_jax.results.shares import Side, side_shares
from salmu_jax.runtime import files

_Scores = Mapping[str, float]


def of_metrics() -> dict[str, float]:
  """{key of METRICS: its noise}."""
  return _deviations(clean_seeds.compromised_scores())


def of_shares(sides: Mapping[str, Side], clean: _Scores, compromised: _Scores) -> dict[str, float]:
  """{key of `sides`: its noise}, with shares between the given bounds."""
  seeds = clean_seeds.compromised_scores()
  return _deviations([side_shares(sides, scores, clean, compromised) for scores in seeds])


def of_attacks() -> dict[str, float]:
  """{key of an attack: its noise}."""
  if not meta.RESULTS.exists():
    return {}
  models = list(files.read_json(meta.RESULTS)["pools"]["Compromised"].values())
  return {key: value for key, value in _deviations(models).items() if key in ATTACKS}


def _deviations(models):
  keys = models[0] if models else ()
  return {key: float(np.std([model[key] for model in models], ddof=1)) for key in keys}
