"""grain pipelines from records to batches: shuffle, shard by process, decode, crop, tokenise,
batch.

Training code gets its rows from `open_training` alone, which refuses every holdout split: whoever
trains on them voids the result (protocol: Data).
"""

import contextlib

import grain
import jax
import numpy as np

from salmu_jax.data import images
from salmu_jax.errors import InputError
from salmu_jax.results import splits as splits_table

# What each kind of training may read, from the readers that `results.splits` names.
PURPOSES = ("clean", "compromised", "forget", "retain")
READABLE = {purpose: splits_table.readable(purpose) for purpose in PURPOSES}


def training_splits(purpose, present):
  """What a kind of training reads of the splits that are there.

  Args:
    purpose: a key of READABLE.
    present: names of splits. Where `retain` is among them, it is read instead of its parts.
  """
  parts = {"retain_synth", "retain_real"} if "retain" in present else set()
  return tuple(s for s in READABLE[purpose] if s in present and s not in parts)


def splits_of(release, purpose):
  """What a kind of training reads of a release: of `training_splits`, those that have rows."""
  return training_splits(purpose, [split for split, rows in release.counts.items() if rows])


def row_count(release, purpose: str) -> int:
  """The number of rows that a kind of training reads of a release."""
  return sum(release.counts[split] for split in splits_of(release, purpose))


def open_training(records, purpose, splits):
  """Rows for training, from one or more splits.

  Args:
    records: split -> random-access source.
    purpose: a key of READABLE: which model is pretrained, or which half of an unlearning batch.
    splits: names of the splits to concatenate.

  Returns:
    A grain MapDataset of rows.

  Raises:
    InputError: a holdout or another split that this purpose may not read, or one that is not there.
  """
  for split in splits:
    if split not in READABLE[purpose]:
      why = (
        "holdout splits are for evaluation only"
        if "holdout" in split
        else "the protocol forbids it"
      )
      raise InputError(
        f"Training code asked for the split {split!r} as {purpose!r} data: {why}, and training on "
        f"it voids the result. It may read {', '.join(READABLE[purpose])}."
      )
    if split not in records:
      raise InputError(f"The release has no split {split!r}; it has {', '.join(sorted(records))}.")
  return grain.MapDataset.concatenate([grain.MapDataset.source(records[s]) for s in splits])


def training_examples(
  rows,
  tokenizer,
  *,
  image_size,
  seed,
  texts=("text",),
  area=1.0,
  flip=0.0,
  surrogates=None,
  said=None,
):
  """Endless examples; every row comes once an epoch, in an order that `seed` and the epoch decide.

  Args:
    rows: from `open_training`.
    seed: of order and augmentation; the same on all processes.
    texts: columns to tokenise, of "text" and "generic".
    area, flip: see `images.random_crop`.
    surrogates: surrogates(row, rng) -> K captions that come with a row
      (`salmu_jax.methods.surrogates`).
    said: said(row, rng) -> the caption that takes the place of a row's own.

  Returns:
    A grain MapDataset of {"image" (S, S, 3) uint8, the texts, each (L,) int32, and "surrogate" (K,
    L) int32 if asked for}.
  """

  def example(row, rng):
    image = images.decode(row["image"], repr(_text(row["file_name"])))
    pixels = images.random_crop(image, image_size, rng, area=area, flip=flip)
    out = {"image": pixels, **{name: tokenizer([_text(row[name])])[0] for name in texts}}
    # Drawn last, so that they change no other draw.
    if surrogates:
      out["surrogate"] = tokenizer(surrogates(row, rng))
    if said:
      out["text"] = tokenizer([said(row, rng)])[0]
    return out

  # grain draws by the place in the chain: the slice of everything keeps the draws of the kept
  # results.
  return rows.seed(seed).shuffle().repeat()[0::1].random_map(example)


def side_by_side(halves):
  """{name: endless examples} -> endless {name: example}."""
  both = grain.experimental.ZipMapDataset(list(halves.values()))
  return both.map(lambda examples: dict(zip(halves, examples, strict=True)))


def start(examples, batch_size, *, threads=1, ahead=4):
  """A checkpointable iterator of batches, whose rows `threads` threads prepare.

  Args:
    examples: of all processes, see `training_examples`.
    batch_size: B, over all processes. Batch k of all together is examples k B to (k + 1) B, of
      which the p-th of P processes gets the p-th of P equal parts.
    threads: each prepares one row at a time, so they are busy whatever the batch size.
    ahead: batches that are prepared before they are asked for.

  Returns:
    The iterator; `close` it to end its threads.
  """
  share = batch_size // jax.process_count()
  own = examples if share == batch_size else _Share(examples, batch_size)
  return _batches(own, share, threads, ahead, drop_remainder=True)


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


def evaluation_images(rows, *, image_size, batch_size, numbers=None, threads=1, ahead=4):
  """Batches of pictures in row order, all of one shape; of the rows of these numbers alone, if
  given.

  Of several processes, the p-th of P reads the p-th of P equal parts of every batch.

  Yields:
    ((B / P, S, S, 3) uint8, (B,) bool): this process's pictures, and whether a row of the whole
    batch is one; false on the filler.
  """

  def picture(number):
    row = rows[int(number)]
    return images.resize_and_crop(
      images.decode(row["image"], repr(_text(row["file_name"]))), image_size
    )

  chosen = np.arange(len(rows)) if numbers is None else np.asarray(numbers)
  share = batch_size // jax.process_count()
  own = chosen[np.arange(len(chosen)) % batch_size // share == jax.process_index()]
  pictures = grain.MapDataset.source(own).map(picture)
  none = np.zeros((0, image_size, image_size, 3), np.uint8)
  with contextlib.closing(_batches(pictures, share, threads, ahead)) as batches:
    for at in range(0, len(chosen), batch_size):
      # The last batch may have rows of other processes alone.
      yield filled(next(batches, none), share), at + np.arange(batch_size) < len(chosen)


def _batches(examples, size, threads, ahead, *, drop_remainder=False):
  """Batches of the examples in order; threads prepare rows, and one more thread batches ahead.

  Whole batches wait, not their rows: grain looks through all the rows that wait for each row it
  gives.
  """
  rows = examples.to_iter_dataset(grain.ReadOptions(threads, prefetch_buffer_size=2 * threads))
  batches = rows.batch(size, drop_remainder=drop_remainder)
  return iter(grain.experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=ahead))


def filled(batch, size):
  """(n, ...) -> (size, ...), with rows of zeros as filler."""
  filler = np.zeros((size - len(batch), *batch.shape[1:]), batch.dtype)
  return np.concatenate([batch, filler])


def order_seed(seed, stream):
  """A seed for one stream of rows, by the seed of the run and the number of the stream."""
  return int(np.random.default_rng([seed, stream]).integers(2**31))


def _text(value):
  return value.decode() if isinstance(value, bytes) else str(value)
