"""The pictures that general knowledge is measured on, from a release or from ImageNet."""

from typing import NamedTuple

import numpy as np

from salmu_jax.data import releases
from salmu_jax.errors import InputError


class ZeroShotSet(NamedTuple):
  """Pictures to classify by the names of their classes.

  name: for provenance and tables; says plainly where it is not the whole validation set.
  classes: name of each class, in the order of the labels.
  prompts: texts with one {} each, which takes the name of a class.
  rows: random-access sequence of {"image": encoded bytes, "file_name": where they come from}, read
    when asked for, from any number of threads.
  labels: (N,) int32, the class of each row.
  content: digest that tells this set of pictures from another, wherever it lies.
  """

  name: str
  classes: tuple[str, ...]
  prompts: tuple[str, ...]
  rows: object
  labels: np.ndarray
  content: str


def of_release(release, records):
  """The zero-shot split of a release as a ZeroShotSet, or None where it has none.

  Raises:
    InputError: a row is of no class.
  """
  if release.zero_shot is None:
    return None
  classes, prompts = release.zero_shot["classes"], release.zero_shot["prompts"]
  number = {name: i for i, name in enumerate(classes)}
  names = releases.columns(release, "zero_shot")["text"]
  unknown = sorted(set(names) - set(classes))
  if unknown:
    raise InputError(
      f"The split 'zero_shot' of {release.path} has the text {unknown[0]!r}, which is none of the "
      f"classes of {releases.ZERO_SHOT}. Restore the release from its source."
    )
  return ZeroShotSet(
    name=f"generated zero-shot set: {len(classes)} classes x {len(names) // len(classes)} pictures",
    classes=tuple(classes),
    prompts=tuple(prompts),
    rows=records["zero_shot"],
    labels=np.array([number[name] for name in names], np.int32),
    content=release.digest,
  )
