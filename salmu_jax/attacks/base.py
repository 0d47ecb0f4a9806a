"""The interface of an attack: its inputs, its findings and its entry in a results file."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from salmu_jax.data.dataset import Data
from salmu_jax.data.leaks import Leak
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.evaluate.evaluator import Evaluator
from salmu_jax.fields import Ranges
from salmu_jax.methods.base import Method
from salmu_jax.results import bootstrap
from salmu_jax.results.recoverability import REDUCTIONS
from salmu_jax.results.reductions import REDUCTIONS as REDUCED
from salmu_jax.results.reductions import reduce
from salmu_jax.runtime import progress
from salmu_jax.train import Program

FORGET = "forget"
_STREAM = 7  # of the seed, for the draws of attacks
Params = Mapping[str, Any]  # of a model
Embed = Callable[[Sequence[str]], np.ndarray]  # embed(N texts) -> (N, D)
# check_batch(field, size) raises InputError for a batch that does not divide over the devices; the
# field is a path below `config`.
CheckBatch = Callable[[str, int], None]


class Inputs(NamedTuple):
  """The inputs of attacks, made once for all models of a release.

  Attributes:
    data: of which only forget and retain are read.
    evaluator: of the models.
    clean, compromised: parameters of the bounds.
    leaks: of forget, in the order of its rows.
    seed: of all draws.
    name_prompt: how a person is named; {} stands for the name.
    program: program(method, batch size, texts) -> the step that trains with the method on this
      mesh, see `train.unlearn_program`.
    mesh: the devices to train on.
    image_size: of the training pictures, in pixels.
    threads: that prepare training rows.
  """

  data: Data
  evaluator: Evaluator
  clean: Params
  compromised: Params
  leaks: Sequence[Leak]
  seed: int
  name_prompt: str
  program: Callable[[Method, int, Callable[[], Mapping[str, Any]]], Program]
  mesh: jax.sharding.Mesh
  image_size: int
  threads: int = 1

  def rng(self) -> np.random.Generator:
    """A fresh generator, whose draws are the same for every model."""
    return np.random.default_rng([self.seed, _STREAM])

  def embedder(self, params: Params, label: str) -> Embed:
    """Embeds texts through a model, behind a progress bar with this label."""

    def embed(texts: Sequence[str]) -> np.ndarray:
      with progress.counting(label, len(texts)) as tick:
        return self.evaluator.embed_texts(params, texts, tick)

    return embed


# What a user's own data may lack -> its name in an audit.
NEEDS = {
  "clean": "a Clean model",
  "facts": "the name, the field and the value of every pair",
}


class Finding(NamedTuple):
  """What an attack finds on one model.

  Attributes:
    parts: {name: number}, which make the attack's number; empty if there was nothing to attack.
    details: further findings, as JSON.
    why: the reason if there are no parts.
    interval: the 95 % bootstrap CI of the attack's number, resampled by person; None if none is
      made.
  """

  parts: dict[str, float]
  details: dict[str, Any]
  why: str = ""
  interval: Sequence[float] | None = None


def retrieved(
  ranks: Mapping[str, np.ndarray], people: Sequence[str], details: dict[str, Any]
) -> Finding:
  """The finding of retrieval in several ways: the MRR of each, and the CI of the largest.

  Args:
    ranks: {way: (N,) RetFail ranks}. people: (N,) of each row. details: as in `Finding`.
  """
  parts = {way: reduce("MRR", values) for way, values in ranks.items()}
  worst = ranks[max(parts, key=parts.get)]
  interval = bootstrap.of_rows(REDUCED["MRR"].row_values(worst), people)
  return Finding(parts, details, interval=interval)


Run = Callable[[Params, Embedded], Finding]  # attacks one model


def _accept(settings: ConfigDict, where: str, other: Any) -> None:
  """The check of an attack that has nothing to check."""
  del settings, where, other


class Attack(NamedTuple):
  """The definition of an attack.

  Attributes:
    key: names the attack in config.attacks.names and in results; in lower case, its settings.
    label: what its number, from 0 to 1, is in words.
    reduction: a key of REDUCTIONS, which makes the number from the parts.
    make: make(inputs, settings) -> run; run(params, Embedded) -> Finding, for one model. Work
      that is expensive and the same for all models belongs in `make`.
    settings: settings() -> its settings, with their defaults.
    ranges: of its settings.
    check: check(settings, where, check_batch), which raises InputError for settings that do not go
      together. `where` is their path, such as "config.attacks.gallery".
    check_data: check_data(settings, where, {split: rows}), which raises InputError if a release
      has too few rows for the settings.
    needs: keys of NEEDS that it requires.
    better: "lower" if a number below Clean's is as good as Clean's; "equal" if it is as bad as one
      above.
  """

  key: str
  label: str
  reduction: str
  make: Callable[[Inputs, ConfigDict], Run]
  settings: Callable[[], ConfigDict] = ConfigDict
  ranges: Ranges = types.MappingProxyType({})
  check: Callable[[ConfigDict, str, CheckBatch], None] = _accept
  check_data: Callable[[ConfigDict, str, Mapping[str, int]], None] = _accept
  better: str = "lower"
  needs: tuple[str, ...] = ()


def entry(attack: Attack, finding: Finding) -> dict[str, Any]:
  """An attack's entry in a results file: its number, if any, and what explains it."""
  about = {"label": attack.label, "better": attack.better}
  if not finding.parts:
    return {"value": None, **about, "why": finding.why, **finding.details}
  return {
    "value": float(REDUCTIONS[attack.reduction](list(finding.parts.values()))),
    "interval": finding.interval and list(finding.interval),
    **about,
    "reduction": attack.reduction,
    "parts": finding.parts,
    **finding.details,
  }
