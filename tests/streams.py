"""Batches and pictures of rows, as training and evaluation read them, for tests to compare."""

import contextlib
import itertools

import jax
import numpy as np

from salmu_jax.data import pipeline, tokenizers

WORDS = tokenizers.clip_tokenizer(16)


def first(stream, count=5):
  with contextlib.closing(stream):
    return list(itertools.islice(stream, count))


def training(rows, names, size=24, count=9, **changes):
  """The first batches of training on some splits."""
  joined = pipeline.open_training(rows, "retain", names)
  examples = pipeline.training_examples(
    joined, WORDS, image_size=size, seed=3, texts=("text", "generic"), **changes
  )
  return first(pipeline.start(examples, 8, threads=2), count)


def judged(rows, size=24):
  return list(pipeline.evaluation_images(rows, image_size=size, batch_size=8))


def assert_same(first, second):
  jax.tree.map(np.testing.assert_array_equal, first, second)
