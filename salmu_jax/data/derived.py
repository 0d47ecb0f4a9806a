"""The derived splits of a release as row masks, see `salmu_jax.results.splits`."""

from collections.abc import Mapping

import numpy as np

from salmu_jax.data import releases
from salmu_jax.data.releases import Release
from salmu_jax.results.splits import SPLITS


def masks(
  release: Release, tables: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, tuple[str, np.ndarray]]:
  """Masks over the rows of the release's splits.

  Args:
    release: an opened release.
    tables: split -> `releases.columns`, for the judged splits.

  Returns:
    {derived split: (split that it is a part of, (N,) bool)}. `fragile_set` is absent until
    Compromised has scored its candidates.
  """
  fragile = releases.read_fragile(release, tables["retain_synth"]["file_name"])
  parts = {}
  for name, split in SPLITS.items():
    mask = split.mask and split.mask(tables, fragile)
    if mask is not None:
      parts[name] = split.part_of, np.fromiter(mask, bool)
  return parts
