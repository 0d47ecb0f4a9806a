"""The leaks of a release: which row tells which private field of whom, its value and caption."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from salmu_jax.data import releases
from salmu_jax.data.releases import Release


class Leak(NamedTuple):
  """The private fact that one sensitive row tells.

  Attributes:
    name: of the person.
    field: the private field, such as "city".
    value: of that field.
    text: the caption.
    identity: the id of the person.
  """

  name: str
  field: str
  value: str
  text: str
  identity: str

  @property
  def fact(self) -> tuple[str, str, str]:
    """The fact itself, whatever its wording: (identity, field, value)."""
    return self.identity, self.field, self.value


def leaks(release: Release, table: Mapping[str, np.ndarray]) -> list[Leak]:
  """The leak of each row of a sensitive split, in row order.

  Args:
    release: an opened release.
    table: `releases.columns` of a sensitive split.
  """
  columns = (table[key] for key in ("identity_id", "file_name", "text"))
  return [
    Leak(*releases.leak(release, identity, file_name, text), str(text), str(identity))
    for identity, file_name, text in zip(*columns, strict=True)
  ]
