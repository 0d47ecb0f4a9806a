"""Checks that no holdout shares a row with training data. Rows are compared by content, since the
name of a split does not guarantee what is in it.
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
_RULE = 2  # version of the comparison; a release that passed an earlier one is compared again
# Clean and unlearning. Compromised also reads `sensitive`, which holds the holdouts by design.
_READERS = {"clean", "forget", "retain"}
_PAIRS = "config.retain_pairs"


class _Shared(NamedTuple):
  """A row that a holdout and a training split share.

  what: the part that is equal. holdout, row, name: its first place in a holdout. split, at: its
  place in the training split.
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

  Two rows are the same if they share a file name or the bytes of an image. Where whole facts are
  held out, they are also the same if a model reads their captions about one person alike. Where
  single pairs are held out, as in the released data, both sides state the same facts by design.
  Rows of the zero-shot test are compared by image only.

  Args:
    release: an opened release, with its training release.
    scratch: a folder that stores the digest of a release that passed.
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
      held_rows = _known(release, held, tick)
      sources = [(split, releases.rows(release, split)) for split in read]
      sources += [(_PAIRS, _each(pairs))] if pairs else []
      shared = [one for split, rows in sources for one in _found(split, rows, held_rows, tick)]
    if shared:
      raise InputError(_message(release, shared))
  kept.write_json(mark, about)


def _each(rows: Sequence[Mapping]) -> Iterator[Mapping]:
  """The rows of a random-access source, in their order."""
  return (rows[number] for number in range(len(rows)))


def _marks(split: str, row: Mapping, by_text: bool) -> Iterator[tuple[str, object]]:
  """(what, content) of each part that identifies a row."""
  if row["image"]:
    yield "picture", hashlib.sha256(row["image"]).digest()
  if split in (ZERO_SHOT, _PAIRS):
    return
  yield "file name", row["file_name"]
  if by_text and row["identity_id"]:
    yield "person and caption", (row["identity_id"], texts.as_read(row["text"]))


def _by_text(release: Release) -> bool:
  """Whether captions are compared too: only where whole facts are held out."""
  return release.manifest.get("settings", {}).get("holdout_unit") == "fact"


def _known(release, held, tick):
  """{(what, content): first (holdout, row, file name)} of all rows of the holdouts."""
  known, by_text = {}, _by_text(release)
  for split in held:
    for number, row in enumerate(releases.rows(release, split)):
      for mark in _marks(split, row, by_text):
        known.setdefault(mark, (split, number, row["file_name"]))
      tick()
  return known


def _found(split: str, rows: Iterable[Mapping], known: Mapping, tick) -> Iterator[_Shared]:
  """The training rows that are in `known`, each once."""
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
    f"{len(rows):,} of {split} are in {holdout}, first row {rows[0].at}, which has the "
    f"{rows[0].what} of row {rows[0].row} ({rows[0].name!r}) of {holdout}"
    for (holdout, split), rows in counts.items()
  ]
  return (
    f"The holdouts of {release.path} share rows with the training data, so every result would be "
    f"void: {'; '.join(listed)}. Remove these rows from one of the two."
  )
