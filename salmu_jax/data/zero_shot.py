"""The images that measure general knowledge, from a release or from ImageNet."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from salmu_jax.data import releases
from salmu_jax.data.releases import Release
from salmu_jax.errors import InputError


class ZeroShotSet(NamedTuple):
  """Images to classify by the names of their classes.

  Attributes:
    name: for provenance and tables; says so if the set is not a complete validation set.
    classes: name of each class, in the order of the labels.
    prompts: texts, each with one {} for the name of a class.
    rows: random-access {"image": encoded bytes, "file_name": their source}; any number of threads
      may read them.
    labels: (N,) int32, the class of each row.
    content: digest of the images, independent of their place.
    stamp: digest of the place, sizes and modification times of the source files; identifies the
      images that were decoded from them.
  """

  name: str
  classes: tuple[str, ...]
  prompts: tuple[str, ...]
  rows: Sequence[Mapping]
  labels: np.ndarray
  content: str
  stamp: str = ""


def of_release(release: Release, records: Mapping[str, Sequence]) -> ZeroShotSet | None:
  """The zero-shot split of a release as a ZeroShotSet, or None without such a split.

  Args:
    release: an opened release.
    records: split -> random-access rows, from `records.build`.

  Raises:
    InputError: the text of a row is not the name of a class.
  """
  if release.zero_shot is None:
    return None
  classes, prompts = release.zero_shot["classes"], release.zero_shot["prompts"]
  labels = {name: label for label, name in enumerate(classes)}
  names = releases.columns(release, "zero_shot")["text"]
  unknown = sorted(set(names) - set(classes))
  if unknown:
    raise InputError(
      f"The split 'zero_shot' of {release.path} has the text {unknown[0]!r}, which is not a class "
      f"in {releases.ZERO_SHOT}. Restore the release from its source."
    )
  return ZeroShotSet(
    name=f"generated zero-shot set: {len(classes)} classes x {len(names) // len(classes)} pictures",
    classes=tuple(classes),
    prompts=tuple(prompts),
    rows=records["zero_shot"],
    labels=np.array([labels[name] for name in names], np.int32),
    content=release.digest,
    stamp=release.digest,
  )
