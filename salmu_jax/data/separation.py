"""No holdout shares a row with what training reads. Rows are compared by content, since a name of a
split says nothing about what is in it.
"""

import hashlib
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from salmu_jax.data import releases, texts
from salmu_jax.data.releases import Release
from salmu_jax.errors import InputError
from salmu_jax.results.splits import SPLITS, ZERO_SHOT
from salmu_jax.runtime import files, kept, progress

MARK = "separation.json"
_RULE = 2  # what is compared; what passed an earlier rule is compared again
# What Clean and unlearning read. Compromised also reads `sensitive`, which holds the holdouts by
# design.
_READERS = {"clean", "forget", "retain"}
_PAIRS = "config.retain_pairs"


class _Shared(NamedTuple):
  """Rows that a holdout and a split for training have in common.

  what: is the same. holdout, row, name: the first of them there. split, at: where training has it.
  """

  what: str
  holdout: str
  row: int
  name: str
  split: str
  at: int


def check(
  release: Release,
  scratch: pathlib.Path,
  pairs: Sequence[Mapping] | None = None,
  pairs_digest: str = "",
) -> None:
  """Raises InputError where a holdout shares rows with what Clean or unlearning reads.

  The same are rows of one file name, or pictures of the same bytes. Where whole facts are held out,
  so are captions about the same person that a model reads alike; where single pairs are, as in the
  released data, a fact is told on both sides by design. Of the zero-shot test pictures count alone.

  Args:
    release: an opened release, with its training release.
    scratch: a folder that remembers a release that passed, by its digest.
    pairs: rows of config.retain_pairs; None without. pairs_digest: their digest.
  """
  mark, about = scratch / MARK, files.digest([_RULE, release.digest, pairs_digest])
  if kept.json_value(mark) == about:
    return
  of_release = {name: split for name, split in SPLITS.items() if name in release.shards}
  held = [name for name, split in of_release.items() if not split.readers]
  read = [name for name, split in of_release.items() if _READERS & set(split.readers)]
  if held and read:
    total = sum(release.counts[name] for name in (*held, *read)) + len(pairs or ())
    with progress.counting("comparing holdouts with training rows", total) as tick:
      known = _known(release, held, tick)
      sources = [(split, releases.rows(release, split)) for split in read]
      sources += [(_PAIRS, _each(pairs))] if pairs else []
      shared = [one for split, rows in sources for one in _found(split, rows, known, tick)]
    if shared:
      raise InputError(_message(release, shared))
  kept.write_json(mark, about)


def _each(rows: Sequence[Mapping]) -> Iterator[Mapping]:
  """The rows of a random-access source, in their order."""
  return (rows[number] for number in range(len(rows)))


def _marks(split: str, row: Mapping, by_text: bool) -> Iterator[tuple[str, object]]:
  """(what, content) of all that tells a row."""
  if row["image"]:
    yield "picture", hashlib.sha256(row["image"]).digest()
  if split in (ZERO_SHOT, _PAIRS):
    return
  yield "file name", row["file_name"]
  if by_text and row["identity_id"]:
    yield "person and caption", (row["identity_id"], texts.as_read(row["text"]))


def _by_text(release: Release) -> bool:
  """Whether a caption about a person stands on one side alone: where whole facts are held out."""
  return release.manifest.get("settings", {}).get("holdout_unit") == "fact"


def _known(release, held, tick):
  """{(what, content): (holdout, row, file name)} of all rows of the holdouts, the first of each."""
  known, by_text = {}, _by_text(release)
  for split in held:
    for number, row in enumerate(releases.rows(release, split)):
      for mark in _marks(split, row, by_text):
        known.setdefault(mark, (split, number, row["file_name"]))
      tick()
  return known


def _found(split: str, rows: Iterable[Mapping], known: Mapping, tick) -> Iterator[_Shared]:
  """The rows for training that are in `known`, each once."""
  for at, row in enumerate(rows):
    same = [mark for mark in _marks(split, row, by_text=True) if mark in known]
    if same:
      yield _Shared(same[0][0], *known[same[0]], split, at)
    tick()


def _message(release, shared):
  counts: dict[tuple[str, str], list[_Shared]] = {}
  for one in shared:
    counts.setdefault((one.holdout, one.split), []).append(one)
  listed = [
    f"{len(rows):,} of {split} are in {holdout}, first row {rows[0].at} there, which has the "
    f"{rows[0].what} of row {rows[0].row} ({rows[0].name!r}) of {holdout}"
    for (holdout, split), rows in counts.items()
  ]
  return (
    f"The holdouts of {release.path} share rows with what training reads, so every result would be "
    f"void: {'; '.join(listed)}. Take these rows out of one of the two."
  )
