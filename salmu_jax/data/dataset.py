"""The opened data of a run: release, records, tokenizer, zero-shot set."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from salmu_jax.data import pipeline
from salmu_jax.data.releases import Release
from salmu_jax.data.tokenizers import Tokenizer
from salmu_jax.data.zero_shot import ZeroShotSet
from salmu_jax.errors import InputError


def digests(release: Release, retain_pairs: str = "") -> dict[str, str]:
  """The digests that identify the data in the settings of a model.

  Args:
    release: the opened release.
    retain_pairs: digest of config.retain_pairs; "" where that is empty.
  """
  return {"release": release.digest, "retain_pairs": retain_pairs}


class Data(NamedTuple):
  """The data of a run.

  Attributes:
    release: the opened release; its counts include the rows of `retain_pairs`.
    records: split -> random-access rows.
    tokenizer: of the text tower.
    zero_shot: the set that measures general knowledge, or None.
    retain_pairs: digest of config.retain_pairs; "" where that is empty.
  """

  release: Release
  records: Mapping[str, Sequence]
  tokenizer: Tokenizer
  zero_shot: ZeroShotSet | None = None
  retain_pairs: str = ""

  @property
  def digests(self) -> dict[str, str]:
    """The digests that identify the data in the settings of a model, see `digests`."""
    return digests(self.release, self.retain_pairs)

  def splits(self, purpose: str) -> tuple[str, ...]:
    """The splits that a kind of training reads, see `pipeline.READABLE`."""
    return pipeline.splits_of(self.release.counts, purpose)

  def count(self, purpose: str) -> int:
    """The number of rows that a kind of training reads."""
    return pipeline.row_count(self.release.counts, purpose)


def check_rows(where: str, batch_size: int, purpose: str, rows: int) -> None:
  """Raises InputError if there are no rows, or too few to fill a batch without repeats.

  Args:
    where: the path of the section that has `batch_size`, such as "config.pretrain".
    batch_size: rows of a batch.
    purpose: what is read, see `pipeline.READABLE`.
    rows: how many rows it has.
  """
  if not rows:
    raise InputError(f"{where} needs rows of {purpose}, but the release has none.")
  if rows == 1:
    raise InputError(
      f"{where} reads {purpose}, which has 1 row. It needs at least two: a pair is contrasted "
      "with the others of its batch."
    )
  if batch_size > rows:
    raise InputError(
      f"{where}.batch_size = {batch_size} is larger than the {rows} rows of {purpose}."
    )
