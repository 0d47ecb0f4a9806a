"""What the sensitive rows of a release leak: whose private field, its value, and in which words."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from salmu_jax.data import releases


class Leak(NamedTuple):
  """What one sensitive row tells.

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
    """What tells this leak from others, however it is worded."""
    return self.identity, self.field, self.value


def leaks(release: releases.Release, table: Mapping[str, np.ndarray]) -> list[Leak]:
  """The leak of each row.

  Args:
    release: an opened release.
    table: `releases.columns` of a sensitive split.
  """
  columns = (table[key] for key in ("identity_id", "file_name", "text"))
  return [
    Leak(*releases.leak(release, identity, file_name, text), str(text), str(identity))
    for identity, file_name, text in zip(*columns, strict=True)
  ]
