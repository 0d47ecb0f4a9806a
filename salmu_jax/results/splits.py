"""The splits: their rows, who may read them, and the unit that a bootstrap resamples.

A split of a release has its own shards. A derived split is the part of another split that a mask
selects. Only evaluation and attacks read a split without readers.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

# split -> {"identity_id", "file_name", ...}: a column of strings each, in row order.
Columns = Mapping[str, Mapping[str, Iterable[str]]]

PEOPLE = "people"
ZERO_SHOT = "zero_shot"
_RETAIN_READERS = ("clean", "compromised", "retain")


class Split(NamedTuple):
  """One split.

  Attributes:
    readers: the kinds of training that may read it: pretraining "clean" or "compromised", and the
      halves "forget" and "retain" of an unlearning batch. Empty: it is for evaluation only.
    judged: whether a release needs it for models to be evaluated on it.
    sensitive: whether its rows leak a private value, so that the release's JSON files list them.
    pool: the unit that a bootstrap resamples: PEOPLE, or the name of the split's own groups; "" for
      a split that no metric uses.
    plotted: whether similarity.png and the page show the distribution of its similarities.
    examples: the number of its people whose portraits are examples on the page.
    part_of: of a derived split, the split that it is a part of.
    since: the first version of the results file that must count its rows.
    mask: of a derived split, mask(columns, fragile names or None) -> a bool for each row of
      `part_of`, or None if it is not known yet.
  """

  readers: tuple[str, ...] = ()
  judged: bool = False
  sensitive: bool = False
  pool: str = ""
  plotted: bool = False
  examples: int = 0
  part_of: str = ""
  since: int = 1
  mask: Callable[[Columns, Iterable[str] | None], Iterable[bool] | None] | None = None


def _forgotten_in_part(columns: Columns, is_in: bool) -> Iterable[bool]:
  """For each row of forget, whether other facts of its person are held out, or not (`is_in`)."""
  partly = set(columns["holdout_association"]["identity_id"])
  return ((identity in partly) == is_in for identity in columns["forget"]["identity_id"])


def _of_forgotten(columns: Columns) -> Iterable[bool]:
  """For each row of retain_synth, whether it shows a person of forget."""
  forgotten = set(columns["forget"]["identity_id"])
  return (identity in forgotten for identity in columns["retain_synth"]["identity_id"])


def _fragile(columns: Columns, fragile: Iterable[str] | None) -> Iterable[bool] | None:
  """For each row of retain_synth, whether the fragile set names it."""
  if fragile is None:
    return None
  names = set(fragile)
  return (name in names for name in columns["retain_synth"]["file_name"])


SPLITS = {
  "forget": Split(("forget",), judged=True, sensitive=True, pool=PEOPLE, plotted=True, examples=4),
  "holdout_association": Split(judged=True, sensitive=True, pool=PEOPLE, plotted=True, examples=2),
  "holdout_identity": Split(judged=True, sensitive=True, pool=PEOPLE, plotted=True, examples=2),
  "retain_synth": Split(_RETAIN_READERS, judged=True),
  "retain_real": Split(_RETAIN_READERS),
  # The whole retain base, as in the published training data.
  "retain": Split(_RETAIN_READERS),
  # The whole sensitive set, including the holdouts.
  "sensitive": Split(("compromised",)),
  # Counted by its classes; a release may have none.
  ZERO_SHOT: Split(pool=ZERO_SHOT),
  "forget_identity": Split(
    part_of="forget",
    mask=lambda columns, _: _forgotten_in_part(columns, False),
    pool=PEOPLE,
  ),
  "forget_association": Split(
    part_of="forget", mask=lambda columns, _: _forgotten_in_part(columns, True)
  ),
  "retain_joint": Split(
    part_of="retain_synth",
    mask=lambda columns, _: _of_forgotten(columns),
    pool=PEOPLE,
    plotted=True,
  ),
  "retain_disjoint": Split(
    part_of="retain_synth",
    mask=lambda columns, _: (not i for i in columns["retain_synth"]["identity_id"]),
  ),
  # Most of its portraits show unknown people, so they are resampled one by one.
  "fragile_set": Split(part_of="retain_synth", mask=_fragile, pool="fragile_set", plotted=True),
}


def judged() -> tuple[str, ...]:
  """The splits that a release must have for models to be evaluated on it."""
  return _named(lambda split: split.judged)


def sensitive() -> tuple[str, ...]:
  """The splits of `judged` whose rows leak private values."""
  return _named(lambda split: split.sensitive)


def of_a_release() -> tuple[str, ...]:
  """The splits that have shards; any others in a release are counted and streamed, but not used."""
  return _named(lambda split: not split.part_of)


def readable(purpose: str) -> tuple[str, ...]:
  """The splits that a kind of training may read; see `Split.readers`."""
  return _named(lambda split: purpose in split.readers)


def grouped(version: int) -> tuple[str, ...]:
  """The splits whose rows a results file of a version counts, and groups for a bootstrap.

  The zero-shot split is not among them: a release may lack it.
  """
  return _named(lambda split: split.pool not in ("", ZERO_SHOT) and split.since <= version)


def _named(condition: Callable[[Split], bool]) -> tuple[str, ...]:
  return tuple(name for name, split in SPLITS.items() if condition(split))


def count_path(name: str) -> tuple[str, str]:
  """The keys below `salmu_jax.release` of a results file that lead to a split's number of rows."""
  return ("derived" if SPLITS[name].part_of else "counts", name)
