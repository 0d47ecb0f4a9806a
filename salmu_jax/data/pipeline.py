"""From records to batches: shuffle, shard by process, decode, crop, tokenise.

Training code gets its rows only from `open_training`, which refuses every holdout split: training
on a holdout voids the result (docs/protocol.md).
"""

import contextlib
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np

from salmu_jax.data import images
from salmu_jax.data.prefetch import Batches
from salmu_jax.data.records import Joined
from salmu_jax.data.releases import text_of
from salmu_jax.errors import InputError
from salmu_jax.results.splits import readable

# The splits that each kind of training may read.
PURPOSES = ("clean", "compromised", "forget", "retain")
READABLE = {purpose: readable(purpose) for purpose in PURPOSES}


def training_splits(purpose: str, present: Container[str]) -> tuple[str, ...]:
  """The present splits that a kind of training reads.

  Args:
    purpose: a key of READABLE.
    present: names of splits. If `retain` is among them, it replaces its parts.
  """
  parts = {"retain_synth", "retain_real"} if "retain" in present else set()
  return tuple(s for s in READABLE[purpose] if s in present and s not in parts)


def splits_of(counts: Mapping[str, int], purpose: str) -> tuple[str, ...]:
  """The `training_splits` that have rows; `counts` is {split: rows} of a release."""
  return training_splits(purpose, [split for split, rows in counts.items() if rows])


def row_count(counts: Mapping[str, int], purpose: str) -> int:
  """The number of rows that a kind of training reads; `counts` is {split: rows} of a release."""
  return sum(counts[split] for split in splits_of(counts, purpose))


def open_training(
  records: Mapping[str, Sequence], purpose: str, splits: Sequence[str]
) -> Sequence[Mapping]:
  """Rows for training, from one or more splits.

  Args:
    records: split -> random-access rows.
    purpose: a key of READABLE: the model to pretrain, or the half of an unlearning batch.
    splits: names of the splits to concatenate.

  Returns:
    Random-access rows.

  Raises:
    InputError: the purpose may not read a split, such as a holdout, or a split is missing.
  """
  for split in splits:
    if split not in READABLE[purpose]:
      reason = (
        "holdout splits are for evaluation only"
        if "holdout" in split
        else "docs/protocol.md forbids it"
      )
      raise InputError(
        f"Training code requested the split {split!r} as {purpose!r} data: {reason}, and training "
        f"on it voids the result. It may read {', '.join(READABLE[purpose])}."
      )
    if split not in records:
      raise InputError(f"The release has no split {split!r}; it has {', '.join(sorted(records))}.")
  return Joined([records[split] for split in splits])


def training_examples(
  rows: Sequence[Mapping],
  tokenizer: Callable[[Sequence[str]], np.ndarray],
  *,
  image_size: int,
  seed: int,
  texts: Sequence[str] = ("text",),
  area: float = 1.0,
  flip: float = 0.0,
  surrogates: Callable[[Mapping, np.random.Generator], Sequence[str]] | None = None,
  reworded: Callable[[Mapping, np.random.Generator], str] | None = None,
) -> Sequence[Mapping]:
  """Endless examples. Every row comes once an epoch; `seed` and the epoch decide the order.

  Args:
    rows: from `open_training`.
    tokenizer: B texts -> (B, L) int32.
    image_size: S, pixels.
    seed: of order and augmentation; the same on all processes.
    texts: columns to tokenise, of "text" and "generic".
    area: minimum share of the central square that a crop keeps, see `images.random_crop`; 1 crops
      images as in evaluation.
    flip: probability of mirroring an image.
    surrogates: surrogates(row, rng) -> K captions in addition to the row's own
      (`salmu_jax.methods.surrogates`).
    reworded: reworded(row, rng) -> the caption that replaces the row's own.

  Returns:
    Random-access {"image": (S, S, 3) uint8, each of `texts`: (L,) int32}, with surrogates also
    {"surrogate": (K, L) int32}. With `area` 1 and `flip` 0, a row that has an embedding
    (`records.EmbeddedRows`) gives it as the image, (D,) float32.
  """

  def example(row, rng):
    embedded = row.get("embedding") if area == 1.0 and flip == 0.0 else None
    picture = _picture(row, image_size, cropped=area == 1.0) if embedded is None else embedded
    fields = {
      "image": images.random_crop(picture, image_size, rng, area=area, flip=flip),
      **{name: tokenizer([text_of(row[name])])[0] for name in texts},
    }
    # Drawn last, so that they change no other draw.
    if surrogates:
      fields["surrogate"] = tokenizer(surrogates(row, rng))
    if reworded:
      fields["text"] = tokenizer([reworded(row, rng)])[0]
    return fields

  return _Examples(rows, example, seed)


class _Examples:
  """Endless examples: rows in a new order each epoch, each with its own random generator.

  Identical to grain's `rows.seed(seed).shuffle().repeat()[0::1].random_map(example)`, with which
  the stored results were made. grain spends more time on the five steps of a row than on its order
  and its draws, so only these two are kept.
  """

  # grain derives the seed of a step from its position after `seed`.
  _SHUFFLE, _RANDOM_MAP = 1, 4

  def __init__(self, rows, example, seed):
    self._rows, self._example = rows, example
    seed_of = lambda step: int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
    self._order_seed = seed_of(self._SHUFFLE)
    self._draws = grain.experimental.RngPool(seed_of(self._RANDOM_MAP))

  def __len__(self):
    return sys.maxsize

  def __getitem__(self, index):
    epoch, place = divmod(index, len(self._rows))
    row = grain.experimental.index_shuffle(
      place, max_index=len(self._rows) - 1, seed=(self._order_seed + epoch) % 2**32, rounds=4
    )
    rng = self._draws.acquire_rng(index)
    example = self._example(self._rows[row], rng)
    self._draws.release_rng(rng)
    return example


def sample_texts(examples: Sequence[Mapping], count: int = 512) -> dict[str, Any]:
  """The texts of the first examples, as a batch has them: arrays (count, ..., L) in dicts.

  Args:
    examples: see `training_examples` and `zip_halves`; the same on all processes.
  """

  def texts(example):
    if not isinstance(example, dict):
      return example
    return {name: texts(value) for name, value in example.items() if name != "image"}

  return jax.tree.map(lambda *rows: np.stack(rows), *[texts(examples[k]) for k in range(count)])


def zip_halves(halves: Mapping[str, Sequence[Mapping]]) -> Sequence[Mapping]:
  """{name: endless examples} -> endless {name: example}."""
  return _Zipped(halves)


class _Zipped:
  """One example of each half at a time."""

  def __init__(self, halves):
    self._halves = halves

  def __len__(self):
    return sys.maxsize

  def __getitem__(self, index):
    return {name: examples[index] for name, examples in self._halves.items()}


def start(
  examples: Sequence[Mapping], batch_size: int, *, threads: int = 1, ahead: int = 4
) -> grain.DatasetIterator:
  """Starts a checkpointable iterator of this process's part of the batches.

  Args:
    examples: of all processes, see `training_examples`.
    batch_size: B, over all processes. Global batch k is examples k B to (k + 1) B; process p of P
      reads the p-th of its P equal parts.
    threads: number of threads that prepare rows.
    ahead: number of batches to prepare ahead.

  Returns:
    The iterator; `close` it to end its threads.
  """
  share = batch_size // jax.process_count()
  own = share * jax.process_index()
  numbers = lambda batch: range(batch * batch_size + own, batch * batch_size + own + share)
  return Batches(examples, numbers, threads, ahead)


def evaluation_images(
  rows: Sequence[Mapping],
  *,
  image_size: int,
  batch_size: int,
  numbers: Sequence[int] | np.ndarray | None = None,
  threads: int = 1,
  ahead: int = 4,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Batches of images in row order, all of one shape.

  Process p of P reads the p-th of P equal parts of every batch.

  Args:
    rows: random-access rows.
    image_size: S, pixels.
    batch_size: B, over all processes.
    numbers: the rows to read, in this order; all rows if None.
    threads: number of threads that prepare rows.
    ahead: number of batches to prepare ahead.

  Yields:
    ((B / P, S, S, 3) uint8, (B,) bool): this process's images, and which rows of the global
    batch are images; false on padding.
  """
  numbers = np.arange(len(rows)) if numbers is None else np.asarray(numbers)
  share = batch_size // jax.process_count()
  own_numbers = numbers[np.arange(len(numbers)) % batch_size // share == jax.process_index()]
  numbers_of = lambda batch: own_numbers[batch * share : (batch + 1) * share]
  pictures = _Pictures(rows, image_size)
  no_pictures = np.zeros((0, image_size, image_size, 3), np.uint8)
  with contextlib.closing(Batches(pictures, numbers_of, threads, ahead)) as batches:
    for start_row in range(0, len(numbers), batch_size):
      # The last batch may have no rows for this process.
      batch = filled(next(batches, no_pictures), share)
      yield batch, start_row + np.arange(batch_size) < len(numbers)


class _Pictures:
  """The images of rows, resized and cropped."""

  def __init__(self, rows, size):
    self._rows, self._size = rows, size

  def __len__(self):
    return len(self._rows)

  def __getitem__(self, index):
    picture = _picture(self._rows[index], self._size, cropped=True)
    is_cropped = isinstance(picture, np.ndarray)
    return picture if is_cropped else images.resize_and_crop(picture, self._size)


def _picture(row, size, *, cropped):
  """The image of a row, from a store if that has it, else decoded.

  Args:
    row: from `salmu_jax.data.records` or `salmu_jax.data.pictures`.
    size: S, pixels.
    cropped: whether the output of `resize_and_crop` is enough, or the whole image is needed.

  Returns:
    (S, S, 3) uint8 if cropped, or (H, W, 3); or a PIL image.
  """
  pixels = row.get("pixels" if cropped else "whole")
  if pixels is not None and min(pixels.shape[:2]) == size:
    return pixels
  return images.decode(row["image"], repr(text_of(row["file_name"])))


def filled(batch: np.ndarray, size: int) -> np.ndarray:
  """(n, ...) -> (size, ...), padded with rows of zeros."""
  padding = np.zeros((size - len(batch), *batch.shape[1:]), batch.dtype)
  return np.concatenate([batch, padding])


def order_seed(seed: int, stream: int) -> int:
  """A seed for one stream of rows, from the seed of the run and the number of the stream."""
  return int(np.random.default_rng([seed, stream]).integers(2**31))
