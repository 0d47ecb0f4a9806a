"""The metrics of SALMUBench (arXiv 2603.26316) as pure functions of embeddings with unit rows.

Scores are float32 at `Precision.HIGHEST`. By default TPUs multiply float32 in bfloat16 passes and
recent GPUs in TF32, so two machines would rank differently.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from salmu_jax.errors import InputError
from salmu_jax.results.reductions import reduce
from salmu_jax.runtime import machine

Array = jax.Array | np.ndarray
HIGHEST = jax.lax.Precision.HIGHEST
# Cosines this close count as equal. Another order of summation moves a float32 product of unit rows
# by up to 6e-7 at D = 1024, and identical embeddings must tie on every machine.
TIE = 1e-6


@jax.jit
def cosines(image: Array, text: Array) -> jax.Array:
  """Cosine of each image with the caption in the same row.

  Args:
    image: (N, D) unit rows.
    text: (N, D) unit rows.

  Returns:
    (N,) float32.
  """
  return jnp.einsum(
    "nd,nd->n", image.astype(jnp.float32), text.astype(jnp.float32), precision=HIGHEST
  )


@functools.partial(jax.jit, static_argnames="block")
def retrieval_ranks(
  queries: Array,
  own: Array,
  own_id: Array,
  gallery: Array,
  gallery_id: Array,
  *,
  block: int = 256,
) -> jax.Array:
  """RetFail: the rank of each image's own caption among itself and the gallery.

  A gallery caption ranks above the own caption unless its score is lower by more than TIE. So a
  model that maps everything to one point has a recall of zero, and so has one that returns NaN. A
  gallery caption with the id of the own caption is the same text and does not compete.

  Args:
    queries: (Q, D) image embeddings, unit rows.
    own: (Q, D) embedding of each image's own caption.
    own_id: (Q,) integer id of the own caption's text.
    gallery: (G, D) caption embeddings that every image is ranked against.
    gallery_id: (G,) integer ids of the gallery's texts.
    block: queries that are scored at a time; memory grows with block x (G + block).

  Returns:
    (Q,) int32, 0 is best.
  """
  gallery = gallery.astype(jnp.float32)

  def rank(rows):
    query, answer, answer_id = rows
    # One product for gallery and own captions, so that both round alike where the machine allows.
    scores = _scores(query, jnp.concatenate([gallery, answer]))  # (B, G + B)
    size = gallery.shape[0]
    best = jnp.diagonal(scores[:, size:])
    above = ~(scores[:, :size] < best[:, None] - TIE) & (gallery_id[None, :] != answer_id[:, None])
    return jnp.sum(above, axis=1, dtype=jnp.int32)

  return _in_blocks(rank, (queries.astype(jnp.float32), own.astype(jnp.float32), own_id), block)


def recall_at(ranks: Array, k: int) -> float:
  """Share of the (Q,) 0-based ranks that are among the first `k`."""
  # A rank is among the first k where rank // k is 0, which recall at 1 counts.
  return reduce("R@1", np.asarray(ranks) // k)


def mean_reciprocal_rank(ranks: Array) -> float:
  """Mean of 1 / (rank + 1) over the (Q,) 0-based ranks."""
  return reduce("MRR", np.asarray(ranks))


# Features of the association probe: from (N, D) unit rows of images and of captions to (N, F).
FEATURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
  "product": lambda image, text: image * text,
  "product_and_both": lambda image, text: np.concatenate([image * text, image, text], axis=1),
  "absolute_difference": lambda image, text: np.abs(image - text),
}


def association_probe(
  image: Array, text: Array, rng: np.random.RandomState, probe: ConfigDict
) -> float:
  """Accuracy of a linear probe that separates true pairs from mismatched ones: ACS.

  NaN when an embedding holds NaN or infinity. See `association_probe_hits`.
  """
  return float(np.mean(association_probe_hits(image, text, rng, probe)[1]))


def association_probe_hits(
  image: Array, text: Array, rng: np.random.RandomState, probe: ConfigDict
) -> tuple[np.ndarray, np.ndarray]:
  """The pairs that a linear probe is tested on, and whether it classifies them correctly.

  There are 2N pairs: the true ones, and the same images with permuted captions. A logistic
  regression is fitted on a stratified half of them and tested on the other half. Feature and solver
  are not published, so they are arguments.

  Accuracy is biased on few rows. If the two pairs of a row fall into different halves, the probe
  can learn the row instead of the association, and is then wrong about the other pair: embeddings
  without any association score below one half. `association_probe_in_halves` has no such bias.

  Args:
    image: (N, D) unit rows.
    text: (N, D) unit rows.
    rng: draws the permutation, then the halves.
    probe: `config.evaluate.probe`.

  Returns:
    (T,) the row of each tested pair's image, and (T,) 1 where the probe is right, else 0. All of
    the latter are NaN when an embedding holds NaN or infinity.

  Raises:
    InputError: there are fewer than two rows.
  """
  from sklearn.model_selection import train_test_split  # here for the reason in `_probe_hits`

  image, text = np.asarray(image, np.float32), np.asarray(text, np.float32)
  if len(image) < 2:
    raise InputError(f"The association probe needs at least two rows; there are {len(image)}.")
  feature = FEATURES[probe.feature]
  pairs = np.concatenate([feature(image, text), feature(image, text[rng.permutation(len(text))])])
  true = np.arange(len(pairs)) < len(image)
  train, test = train_test_split(
    np.arange(len(pairs)), test_size=0.5, stratify=true, random_state=rng
  )
  if not np.isfinite(pairs).all():
    return test % len(image), np.full(len(test), np.nan)
  hits = _probe_hits((pairs[train], true[train]), (pairs[test], true[test]), probe)
  return test % len(image), hits


def association_probe_in_halves(
  image: Array, text: Array, text_id: Array, rng: np.random.Generator, probe: ConfigDict
) -> float:
  """ACS without the bias of `association_probe`: each row is in one half only.

  The rows are split into halves, and captions are permuted within each half. So every image and
  every caption of a half is in one true and one mismatched pair, and no row has pairs in both
  halves.

  Args:
    image: (N, D) unit rows.
    text: (N, D) unit rows.
    text_id: (N,) id of each row's caption text; a mismatched pair never has the true text.
    rng: draws the halves and the permutations.
    probe: `config.evaluate.probe`.

  Returns:
    The accuracy; NaN when an embedding holds NaN or infinity, 0.5 when all features are constant.

  Raises:
    InputError: one text fills more than half of the rows, or there are fewer than four rows.
  """
  image, text = np.asarray(image, np.float32), np.asarray(text, np.float32)
  text_id = np.unique(np.asarray(text_id), return_inverse=True)[1]
  feature, halves = FEATURES[probe.feature], []
  for rows in _halves(text_id, rng):
    other = rows[_mismatch(text_id[rows], rng)]
    pairs = np.concatenate([feature(image[rows], text[rows]), feature(image[rows], text[other])])
    halves.append((pairs, np.arange(len(pairs)) < len(rows)))
  if not all(np.isfinite(pairs).all() for pairs, _ in halves):
    return float("nan")
  return float(np.mean(_probe_hits(*halves, probe)))


def _probe_hits(train, test, probe):
  """(T,) 1.0 for each tested pair that is classified correctly, else 0.0.

  Args:
    train, test: (features, labels) to fit on, and to test on.
    probe: `config.evaluate.probe`.
  """
  # Imported here, so that refusing a bad config does not wait for it.
  from sklearn.linear_model import LogisticRegression
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler

  regression = LogisticRegression(C=probe.c, solver=probe.solver, max_iter=probe.max_iter)
  steps = (StandardScaler(), regression) if probe.standardise else (regression,)
  features, labels = test
  with machine.one_thread():
    return np.float64(make_pipeline(*steps).fit(*train).predict(features) == labels)


def class_weights(prompts: Array) -> jax.Array:
  """CLIP's prompt ensemble: one direction per class, the normalised mean over its prompts.

  Args:
    prompts: (C, P, D) unit embeddings of P prompts for each of C classes.

  Returns:
    (C, D) float32 unit rows; NaN for a class whose prompts cancel, which is never a hit.
  """
  mean = jnp.mean(jnp.asarray(prompts, jnp.float32), axis=1)
  return mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)


def zero_shot_hits(
  images: Array,
  weights: Array,
  labels: Array,
  class_id: Array | None = None,
  *,
  block: int = 256,
) -> jax.Array:
  """Whether each image's nearest class is its label; a tie (see TIE) and a NaN are misses.

  Classes with the same name have the same direction; the first of them is the nearest, as with
  argmax. ImageNet has two such pairs.

  Args:
    images: (N, D) unit rows.
    weights: (C, D) class directions, see `class_weights`.
    labels: (N,) integers in [0, C).
    class_id: (C,) integers, equal for classes with the same name; None if all names differ.
    block: images that are scored at a time.

  Returns:
    (N,) bool.

  Raises:
    InputError: a label is not in [0, C).
  """
  wrong = np.flatnonzero((np.asarray(labels) < 0) | (np.asarray(labels) >= len(weights)))
  if wrong.size:
    raise InputError(
      f"labels: row {wrong[0]} has label {np.asarray(labels)[wrong[0]]}, but there are "
      f"{len(weights)} classes; labels are integers from 0 to {len(weights) - 1}."
    )
  class_id = np.arange(len(weights)) if class_id is None else np.asarray(class_id)
  return _hits(images, weights, labels, class_id, block=block)


def best_of(*scores: Array) -> Array:
  """(N,) elementwise maximum of (N,) scores: CoreAssoc, over "NAME VALUE" and "VALUE NAME"."""
  return functools.reduce(jnp.maximum, scores)


@functools.partial(jax.jit, static_argnames="block")
def _hits(images, weights, labels, class_id, *, block):
  weights = weights.astype(jnp.float32)
  column = jnp.arange(weights.shape[0])[None, :]

  def hit(rows):
    image, label = rows
    scores = _scores(image, weights)  # (B, C)
    same_name = (class_id[None, :] == class_id[label][:, None]) & (column >= label[:, None])
    best = jnp.take_along_axis(scores, label[:, None], axis=1)
    return jnp.all((scores < best - TIE) | same_name, axis=1) & ~jnp.isnan(best[:, 0])

  return _in_blocks(hit, (images.astype(jnp.float32), labels), block)


def _scores(rows, columns):
  return jnp.einsum("bd,gd->bg", rows, columns, precision=HIGHEST)


def _in_blocks(f, rows, block):
  """Maps f: arrays (B, ...) -> (B,) over blocks of the leading axis.

  The rows are padded, because `lax.map` would compile f again for a remainder. The rows of a block
  are one stride apart, so rows that are sharded over devices stay where they are.
  """
  n = jax.tree.leaves(rows)[0].shape[0]
  block = max(1, min(block, n))
  count = -(-n // block)

  def split(x):
    x = jnp.pad(x, [(0, count * block - n)] + [(0, 0)] * (x.ndim - 1))
    return jnp.swapaxes(x.reshape(block, count, *x.shape[1:]), 0, 1)

  blocks = jax.lax.map(f, jax.tree.map(split, rows))  # (count, block)
  return blocks.T.reshape(-1)[:n]


def _halves(text_id, rng):
  """Two random halves of the rows; the rows of a text are shared evenly between them."""
  texts = rng.permutation(text_id.max(initial=-1) + 1)
  order = np.lexsort([rng.random(text_id.size), texts[text_id]])
  return order[0::2], order[1::2]


def _mismatch(text_id, rng):
  """A random permutation of the rows in which no row gets its own text.

  It is a uniform permutation in which each row with its own text swaps with a random row. Let row i
  have text a, get text a, and let a fill m of N rows. At most 2m - 1 rows have or get text a. So
  with 2m <= N some row can swap with i, and after the swap neither has its own text.
  """
  most = np.bincount(text_id).max(initial=0)
  if not text_id.size or 2 * most > text_id.size:
    raise InputError(
      f"text_id: the most frequent caption fills {most} of the {text_id.size} rows in one half of "
      "the association probe, so not every image in it can get the caption of another. The probe "
      "needs at least four rows, and no caption may fill more than half of them."
    )
  order = rng.permutation(text_id.size)
  for i in np.flatnonzero(text_id[order] == text_id):
    own = text_id[i]
    if text_id[order[i]] == own:
      j = rng.choice(np.flatnonzero((text_id != own) & (text_id[order] != own)))
      order[i], order[j] = order[j], order[i]
  return order
