"""grain pipelines from records to batches: shuffle, shard by process, decode, crop, tokenise, batch.

Training code gets its rows from `open_training` alone, which refuses every holdout split: whoever
trains on them voids the result (protocol: Data).
"""

import grain
import jax
import numpy as np

from salmu_jax.data import images
from salmu_jax.errors import InputError

# What each kind of training may read. `sensitive` is the whole sensitive set, which only the
# Compromised model sees, and only when it is pretrained. `retain` is the whole retain base as the
# published training data has it; a generated release has its two parts.
_RETAIN = ("retain_synth", "retain_real", "retain")
READABLE = {
  "clean": _RETAIN,
  "compromised": (*_RETAIN, "sensitive"),
  "forget": ("forget",),
  "retain": _RETAIN,
}


def training_splits(purpose, present):
  """What a kind of training reads of the splits that are there.

  Args:
    purpose: a key of READABLE.
    present: names of splits. Where `retain` is among them, it is read instead of its parts.
  """
  parts = {"retain_synth", "retain_real"} if "retain" in present else set()
  return tuple(s for s in READABLE[purpose] if s in present and s not in parts)


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
        f"Training code asked for the split {split!r} as {purpose!r} data: {why}, and training on it "
        f"voids the result. It may read {', '.join(READABLE[purpose])}."
      )
    if split not in records:
      raise InputError(f"The release has no split {split!r}; it has {', '.join(sorted(records))}.")
  return grain.MapDataset.concatenate([grain.MapDataset.source(records[s]) for s in splits])


def training_batches(
  rows, tokenizer, *, image_size, batch_size, seed, texts=("text",), area=1.0, flip=0.0
):
  """Endless batches; every row comes once an epoch, in an order that `seed` and the epoch decide.

  Args:
    rows: from `open_training`.
    batch_size: over all processes, each of which gets an equal part.
    seed: of order and augmentation; the same on all processes.
    texts: columns to tokenise, of "text" and "generic".
    area, flip: see `images.random_crop`.

  Returns:
    A grain MapDataset of {"image" (b, S, S, 3) uint8, and the texts, each (b, L) int32}; batch k of
    all processes together holds rows k B to (k + 1) B of the stream.
  """
  if len(rows) < batch_size:
    raise InputError(
      f"A batch of {batch_size} rows is larger than the {len(rows)} rows there are to train on."
    )

  def example(row, rng):
    image = images.decode(row["image"], repr(_text(row["file_name"])))
    pixels = images.random_crop(image, image_size, rng, area=area, flip=flip)
    return {"image": pixels, **{name: tokenizer([_text(row[name])])[0] for name in texts}}

  stream = rows.seed(seed).shuffle().repeat()[jax.process_index() :: jax.process_count()]
  return stream.random_map(example).batch(batch_size // jax.process_count(), drop_remainder=True)


def side_by_side(halves):
  """{name: endless batches} -> endless {name: batch}."""
  both = grain.experimental.ZipMapDataset(list(halves.values()))
  return both.map(lambda batches: dict(zip(halves, batches, strict=True)))


def start(batches, *, threads=1, ahead=4):
  """A checkpointable iterator that prepares `ahead` batches in `threads` threads."""
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
  return iter(batches.to_iter_dataset(options))


def evaluation_images(rows, *, image_size, batch_size, threads=1, ahead=4):
  """Batches of pictures in row order, all of one shape.

  Yields:
    ((B, S, S, 3) uint8, (B,) bool): the pictures and whether a row is one; false on the filler.
  """
  pictures = grain.MapDataset.source(rows).map(
    lambda row: images.resize_and_crop(
      images.decode(row["image"], repr(_text(row["file_name"]))), image_size
    )
  )
  for batch in start(pictures.batch(batch_size), threads=threads, ahead=ahead):
    yield padded(batch, batch_size)


def padded(batch, size):
  """(n, ...) -> ((size, ...), (size,) bool): the last row repeated as filler, and who is none."""
  filler = np.repeat(batch[-1:], size - len(batch), axis=0)
  return np.concatenate([batch, filler]), np.arange(size) < len(batch)


def _text(value):
  return value.decode() if isinstance(value, bytes) else str(value)
