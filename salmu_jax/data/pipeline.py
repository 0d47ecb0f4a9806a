"""grain pipelines from records to batches: shuffle, shard by process, decode, crop, tokenise.

Training code gets its rows from `open_training` alone. It refuses every holdout split, because
training on a holdout voids the result (README, The data).
"""

import contextlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np

from salmu_jax.data import images
from salmu_jax.data.releases import Release, text_of
from salmu_jax.errors import InputError
from salmu_jax.results.splits import readable

# The splits that each kind of training may read.
PURPOSES = ("clean", "compromised", "forget", "retain")
READABLE = {purpose: readable(purpose) for purpose in PURPOSES}


def training_splits(purpose: str, present: Container[str]) -> tuple[str, ...]:
  """The splits that a kind of training reads, of those that are present.

  Args:
    purpose: a key of READABLE.
    present: names of splits. If `retain` is among them, it is read instead of its parts.
  """
  parts = {"retain_synth", "retain_real"} if "retain" in present else set()
  return tuple(s for s in READABLE[purpose] if s in present and s not in parts)


def splits_of(release: Release, purpose: str) -> tuple[str, ...]:
  """The `training_splits` of a release that have rows."""
  return training_splits(purpose, [split for split, rows in release.counts.items() if rows])


def row_count(release: Release, purpose: str) -> int:
  """The number of rows that a kind of training reads of a release."""
  return sum(release.counts[split] for split in splits_of(release, purpose))


def open_training(
  records: Mapping[str, Sequence], purpose: str, splits: Sequence[str]
) -> grain.MapDataset:
  """Rows for training, from one or more splits.

  Args:
    records: split -> random-access rows.
    purpose: a key of READABLE: the model to pretrain, or the half of an unlearning batch.
    splits: names of the splits to concatenate.

  Returns:
    A dataset of rows.

  Raises:
    InputError: the purpose may not read a split, such as a holdout, or a split is missing.
  """
  for split in splits:
    if split not in READABLE[purpose]:
      reason = (
        "holdout splits are for evaluation only"
        if "holdout" in split
        else "the protocol forbids it"
      )
      raise InputError(
        f"Training code asked for the split {split!r} as {purpose!r} data: {reason}, and training "
        f"on it voids the result. It may read {', '.join(READABLE[purpose])}."
      )
    if split not in records:
      raise InputError(f"The release has no split {split!r}; it has {', '.join(sorted(records))}.")
  return grain.MapDataset.concatenate([grain.MapDataset.source(records[s]) for s in splits])


def training_examples(
  rows: grain.MapDataset,
  tokenizer: Callable[[Sequence[str]], np.ndarray],
  *,
  image_size: int,
  seed: int,
  texts: Sequence[str] = ("text",),
  area: float = 1.0,
  flip: float = 0.0,
  surrogates: Callable[[Mapping, np.random.Generator], Sequence[str]] | None = None,
  reworded: Callable[[Mapping, np.random.Generator], str] | None = None,
) -> grain.MapDataset:
  """Endless examples. Every row comes once an epoch; `seed` and the epoch decide the order.

  Args:
    rows: from `open_training`.
    tokenizer: B texts -> (B, L) int32.
    image_size: S, pixels.
    seed: of order and augmentation; the same on all processes.
    texts: columns to tokenise, of "text" and "generic".
    area: the least share of the central square that a crop keeps, see `images.random_crop`.
    flip: probability of mirroring a picture.
    surrogates: surrogates(row, rng) -> K captions beside the row's own
      (`salmu_jax.methods.surrogates`).
    reworded: reworded(row, rng) -> the caption that replaces the row's own.

  Returns:
    A dataset of {"image": (S, S, 3) uint8, each of `texts`: (L,) int32}, with surrogates also
    {"surrogate": (K, L) int32}.
  """

  def example(row, rng):
    image = images.decode(row["image"], repr(text_of(row["file_name"])))
    pixels = images.random_crop(image, image_size, rng, area=area, flip=flip)
    fields = {
      "image": pixels,
      **{name: tokenizer([text_of(row[name])])[0] for name in texts},
    }
    # Drawn last, so that they change no other draw.
    if surrogates:
      fields["surrogate"] = tokenizer(surrogates(row, rng))
    if reworded:
      fields["text"] = tokenizer([reworded(row, rng)])[0]
    return fields

  # The slice takes everything. It stays because grain seeds each step by its place in the chain:
  # without it, draws would differ from those behind the kept results.
  return rows.seed(seed).shuffle().repeat()[0::1].random_map(example)


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


def zip_halves(halves: Mapping[str, grain.MapDataset]) -> grain.MapDataset:
  """{name: endless examples} -> endless {name: example}."""
  pairs = grain.experimental.ZipMapDataset(list(halves.values()))
  return pairs.map(lambda examples: dict(zip(halves, examples, strict=True)))


def start(
  examples: grain.MapDataset, batch_size: int, *, threads: int = 1, ahead: int = 4
) -> grain.DatasetIterator:
  """Starts a checkpointable iterator of this process's part of the batches.

  Args:
    examples: of all processes, see `training_examples`.
    batch_size: B, over all processes. Global batch k is examples k B to (k + 1) B; process p of P
      reads the p-th of its P equal parts.
    threads: number of threads that prepare rows, each one row at a time.
    ahead: number of batches to prepare ahead.

  Returns:
    The iterator; `close` it to end its threads.
  """
  share = batch_size // jax.process_count()
  own_examples = examples if share == batch_size else _Share(examples, batch_size)
  return _batches(own_examples, share, threads, ahead, drop_remainder=True)


class _Share(grain.MapDataset):
  """This process's part of every batch of an endless dataset, example by example."""

  def __init__(self, parent, batch_size):
    super().__init__(parent)
    self._examples, self._batch_size = parent, batch_size
    self._share = batch_size // jax.process_count()
    self._first = jax.process_index() * self._share

  def __len__(self):
    return len(self._examples) // self._batch_size * self._share

  def __getitem__(self, index):
    batch, place = divmod(index, self._share)
    return self._examples[batch * self._batch_size + self._first + place]


def evaluation_images(
  rows: Sequence[Mapping],
  *,
  image_size: int,
  batch_size: int,
  numbers: Sequence[int] | np.ndarray | None = None,
  threads: int = 1,
  ahead: int = 4,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Batches of pictures in row order, all of one shape.

  Process p of P reads the p-th of P equal parts of every batch.

  Args:
    rows: random-access rows.
    image_size: S, pixels.
    batch_size: B, over all processes.
    numbers: the rows to read, in this order; all rows if None.
    threads: number of threads that prepare rows.
    ahead: number of batches to prepare ahead.

  Yields:
    ((B / P, S, S, 3) uint8, (B,) bool): this process's pictures, and which rows of the global
    batch are pictures; false on padding.
  """

  def picture(number):
    row = rows[int(number)]
    return images.resize_and_crop(
      images.decode(row["image"], repr(text_of(row["file_name"]))), image_size
    )

  numbers = np.arange(len(rows)) if numbers is None else np.asarray(numbers)
  share = batch_size // jax.process_count()
  own_numbers = numbers[np.arange(len(numbers)) % batch_size // share == jax.process_index()]
  pictures = grain.MapDataset.source(own_numbers).map(picture)
  no_pictures = np.zeros((0, image_size, image_size, 3), np.uint8)
  with contextlib.closing(_batches(pictures, share, threads, ahead)) as batches:
    for start_row in range(0, len(numbers), batch_size):
      # The last batch may have no rows for this process.
      pixels = filled(next(batches, no_pictures), share)
      yield pixels, start_row + np.arange(batch_size) < len(numbers)


def _batches(examples, size, threads, ahead, *, drop_remainder=False):
  """Batches of the examples in order; `threads` prepare rows, and one more prepares batches.

  Whole batches are buffered, not rows: grain searches its buffer of rows for every row it gives.
  """
  rows = examples.to_iter_dataset(grain.ReadOptions(threads, prefetch_buffer_size=2 * threads))
  batches = rows.batch(size, drop_remainder=drop_remainder)
  return iter(grain.experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=ahead))


def filled(batch: np.ndarray, size: int) -> np.ndarray:
  """(n, ...) -> (size, ...), padded with rows of zeros."""
  padding = np.zeros((size - len(batch), *batch.shape[1:]), batch.dtype)
  return np.concatenate([batch, padding])


def order_seed(seed: int, stream: int) -> int:
  """A seed for one stream of rows, from the seed of the run and the number of the stream."""
  return int(np.random.default_rng([seed, stream]).integers(2**31))
