"""The splits that are derived from a release's own (protocol: Data), as row masks."""

import numpy as np

from salmu_jax.data import releases


def derived(release, tables):
  """Masks over the rows of the release's splits.

  Args:
    release: an opened release.
    tables: split -> `release.columns`, for the benchmark splits.

  Returns:
    name -> (split, (N,) bool). `fragile_set` is left out while no Compromised has judged it.
  """
  forget = tables["forget"]["identity_id"]
  partly = set(tables["holdout_association"]["identity_id"])
  forgotten = set(forget)
  retain = tables["retain_synth"]["identity_id"]
  masks = {
    "forget_identity": ("forget", _mask(identity not in partly for identity in forget)),
    "forget_association": ("forget", _mask(identity in partly for identity in forget)),
    "retain_joint": ("retain_synth", _mask(identity in forgotten for identity in retain)),
    "retain_disjoint": ("retain_synth", _mask(not identity for identity in retain)),
  }
  fragile = releases.read_fragile(release)
  if fragile is not None:
    chosen = set(fragile)
    names = tables["retain_synth"]["file_name"]
    masks["fragile_set"] = ("retain_synth", _mask(name in chosen for name in names))
  return masks


def _mask(values):
  """A bool array from an iterable of truths."""
  return np.fromiter(values, bool)
