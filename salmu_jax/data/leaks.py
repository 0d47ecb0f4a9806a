"""The leaks of a release: for each sensitive row its person, private field, value and caption."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from salmu_jax.data.releases import Release, text_of


class Leak(NamedTuple):
  """The private fact that one sensitive row states.

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

  def with_value(self, value: str) -> str | None:
    """The caption with its value replaced by another.

    Where the value is also part of the name (a city in a family name), the name is unchanged.

    Returns:
      None where the caption does not hold its value verbatim.
    """
    if not self.value:
      return None
    pieces = self.text.split(self.name) if self.name else [self.text]
    if any(self.value in piece for piece in pieces):
      return self.name.join(value.join(piece.split(self.value)) for piece in pieces)
    if self.name in self.value and self.value in self.text:
      return self.text.replace(self.value, value)
    return None


def values_of(leaks: Iterable[Leak]) -> dict[str, list[str]]:
  """{field: its distinct values in the leaks}, both sorted."""
  values: dict[str, set[str]] = {}
  for leak in leaks:
    values.setdefault(leak.field, set()).add(leak.value)
  return {field: sorted(values[field]) for field in sorted(values)}


def why_not_asked(leaks: Iterable[Leak]) -> str:
  """Why no question about a value can be built from these leaks of forget."""
  if all(len(values) < 2 for values in values_of(leaks).values()):
    return "no field of forget has a second value"
  return "no forget caption holds its value"


def leak_of(release: Release, row: Mapping[str, str | bytes]) -> Leak:
  """The leak of one sensitive row.

  The value comes from the caption's metadata if they have one. Otherwise, for a field with several
  values, such as e-mail addresses, it is the one in the caption, or else the first.

  Args:
    release: an opened release; only the metadata of the row are read.
    row: its `identity_id`, `file_name` and `text`, as strings or bytes.
  """
  identity, file_name, text = (text_of(row[key]) for key in ("identity_id", "file_name", "text"))
  person, about = release.identities[identity], release.captions[file_name]
  field = about["data_field"]
  value = person[field]
  if isinstance(about.get("value"), str):
    value = about["value"]
  elif isinstance(value, list):
    # The longest match counts, since one address may be the end of another.
    value = max((address for address in value if address in text), key=len, default=value[0])
  return Leak(person["name"], field, str(value), text, identity)


def leaks(release: Release, table: Mapping[str, np.ndarray]) -> list[Leak]:
  """The leak of each row of a sensitive split, in row order.

  Args:
    release: an opened release.
    table: `releases.columns` of a sensitive split.
  """
  rows = zip(*table.values(), strict=True)
  return [leak_of(release, dict(zip(table, row, strict=True))) for row in rows]
