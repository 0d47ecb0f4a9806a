"""Recoverability, the third pillar: how much of what should be forgotten an attacker gets back.

Each attack is one module. It gives one number for the table, and the parts that make it. Clean and
Compromised are attacked like every other model, and bound the number. An attacker may know forget,
retain and the Clean model; nothing here is trained on holdouts.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from salmu_jax import errors
from salmu_jax.attacks import (
  base,
  gallery,
  interpolation,
  membership,
  quantisation,
  readout,
  relearning,
  rephrasing,
)
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.fields import Ranges
from salmu_jax.ranges import Each, OneOf

# Key -> Attack, in the order of the tables.
ATTACKS: dict[str, base.Attack] = {
  attack.key: attack
  for attack in (
    relearning.ATTACK,
    membership.ATTACK,
    readout.ATTACK,
    rephrasing.ATTACK,
    gallery.ATTACK,
    quantisation.ATTACK,
    interpolation.ATTACK,
  )
}


def settings() -> ConfigDict:
  """The section `config.attacks`: the chosen attacks, and the settings of each under its name."""
  config = ConfigDict()
  # Attacks on every model: keys of salmu_jax.attacks.ATTACKS; () for none.
  config.names = tuple(ATTACKS)
  for key, attack in ATTACKS.items():
    config[key.lower()] = attack.settings()
  return config


def ranges() -> Ranges:
  """Ranges of the fields of `config.attacks`."""
  return {"names": Each(OneOf(ATTACKS)), **{k.lower(): a.ranges for k, a in ATTACKS.items()}}


def chosen(config: ConfigDict) -> dict[str, Any]:
  """What results state about `config.attacks`: the chosen attacks and their settings.

  Empty if none is chosen.
  """
  settings = {key.lower(): config[key.lower()].to_dict() for key in config.names}
  return {"names": list(config.names), **settings} if config.names else {}


def check(config: ConfigDict, check_batch: base.CheckBatch) -> None:
  """Raises InputError for settings that do not go together, of attacks chosen or not.

  Args:
    config: `config.attacks`, whose fields are in their ranges.
    check_batch: raises InputError for a training batch that does not divide over the devices.
  """
  checks = [
    functools.partial(attack.check, config[key.lower()], _path(key), check_batch)
    for key, attack in ATTACKS.items()
  ]
  errors.refuse(errors.found(checks))


def check_data(config: ConfigDict, counts: Mapping[str, int]) -> None:
  """Raises InputError if a chosen attack lacks the data that it needs.

  Args:
    config: `config.attacks`. counts: {split: rows} of the release.
  """
  for key in config.names:
    ATTACKS[key].check_data(config[key.lower()], _path(key), counts)


def attacker(
  inputs: base.Inputs, config: ConfigDict
) -> Callable[[base.Params, Embedded], dict[str, dict[str, Any]]]:
  """Returns attack(params, z), which attacks one model in every chosen way.

  Args:
    inputs: of all attacks. config: `config.attacks`.

  Returns:
    A function of a model's parameters and of its embeddings of the release. It returns
    {key of ATTACKS: entry of the results file, see `base.entry`}.
  """
  runs = {key: ATTACKS[key].make(inputs, config[key.lower()]) for key in config.names}

  def attack(params: base.Params, z: Embedded) -> dict[str, dict[str, Any]]:
    if all(np.isfinite(table).all() for table in (z.image[base.FORGET], z.text[1])):
      findings = {key: run(params, z) for key, run in runs.items()}
    else:
      findings = dict.fromkeys(runs, base.Finding({}, {}, "the model's embeddings are not finite"))
    return {key: base.entry(ATTACKS[key], finding) for key, finding in findings.items()}

  return attack


def _path(key: str) -> str:
  """The path of an attack's settings."""
  return f"config.attacks.{key.lower()}"
