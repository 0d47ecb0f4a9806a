"""The benchmark's metrics as pure functions of embeddings with unit rows.

Scores are float32 at `Precision.HIGHEST`: the default float32 product is bfloat16 passes on TPU
and TF32 on recent GPUs, and two machines would rank differently.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from salmu_jax.errors import InputError

_HIGHEST = jax.lax.Precision.HIGHEST
# Cosines this close are equal: the same float32 product of unit rows in another order of summation
# moves by up to 6e-7 at D = 1024, and identical embeddings have to tie on every machine.
TIE = 1e-6


@jax.jit
def cosines(image, text):
  """Cosine of each image with the caption in the same row.

  Args:
    image: (N, D) unit rows.
    text: (N, D) unit rows.

  Returns:
    (N,) float32.
  """
  return jnp.einsum(
    "nd,nd->n", image.astype(jnp.float32), text.astype(jnp.float32), precision=_HIGHEST
  )


@functools.partial(jax.jit, static_argnames="block")
def retrieval_ranks(queries, own, own_id, gallery, gallery_id, *, block=256):
  """Rank of each image's own caption among itself and the gallery, for RetFail (protocol 1.1).

  A gallery row ranks above the own caption unless its score is less by more than TIE: a model
  that maps everything to one point scores zero, and so does one that returns NaN. A gallery row
  with the id of the own caption is the same text and not a competitor.

  Args:
    queries: (Q, D) image embeddings, unit rows.
    own: (Q, D) embedding of each image's own caption.
    own_id: (Q,) integer id of the own caption's text.
    gallery: (G, D) caption embeddings that every image is ranked against.
    gallery_id: (G,) integer ids of the gallery's texts.
    block: how many queries are scored at a time; memory grows with block x (G + block).

  Returns:
    (Q,) int32, 0 is best.
  """
  gallery = gallery.astype(jnp.float32)

  def rank(rows):
    query, answer, answer_id = rows
    # One product for both, so that they round alike as far as the machine allows.
    scores = _scores(query, jnp.concatenate([gallery, answer]))  # (B, G + B)
    size = gallery.shape[0]
    best = jnp.diagonal(scores[:, size:])
    above = ~(scores[:, :size] < best[:, None] - TIE) & (gallery_id[None, :] != answer_id[:, None])
    return jnp.sum(above, axis=1, dtype=jnp.int32)

  return _in_blocks(rank, (queries.astype(jnp.float32), own.astype(jnp.float32), own_id), block)


def recall_at(ranks, k):
  """Share of the (Q,) 0-based ranks that are among the first `k`, as a float."""
  return float(np.mean(_some(ranks) < k))


def mean_reciprocal_rank(ranks):
  """Mean of 1 / (rank + 1) over the (Q,) 0-based ranks, as a float."""
  return float(np.mean(1.0 / (_some(ranks) + 1.0)))


# What the association probe sees of a pair, from (N, D) unit rows of images and captions.
FEATURES = {
  "product": lambda image, text: image * text,
  "product_and_both": lambda image, text: np.concatenate([image * text, image, text], axis=1),
  "absolute_difference": lambda image, text: np.abs(image - text),
}


def association_probe(image, text, rng, probe):
  """Accuracy of a linear probe at telling true pairs from mismatched ones: ACS (protocol 1.3), a
  float.

  NaN when an embedding holds NaN or infinity. See `association_probe_hits`.
  """
  return float(np.mean(association_probe_hits(image, text, rng, probe)[1]))


def association_probe_hits(image, text, rng, probe):
  """What a linear probe makes of the pairs that it is tested on.

  2N pairs, the true ones and the same images with permuted captions; logistic regression on one
  stratified half of the pairs, accuracy on the other. Feature and solver are not published, so
  they are arguments. Where a row's two pairs fall into different halves, the probe can learn the
  row instead of the association and be wrong on its other pair: on few rows, embeddings with
  nothing to find score below one half. `association_probe_in_halves` has not this bias.

  Args:
    image: (N, D) unit rows.
    text: (N, D) unit rows.
    rng: numpy RandomState that draws the permutation, then the halves.
    probe: `config.evaluate.probe`.

  Returns:
    (T,) the row whose image each tested pair has, and (T,) 1 where the probe is right, else 0; all
    NaN when an embedding holds NaN or infinity.

  Raises:
    InputError: there are fewer than two rows.
  """
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


def association_probe_in_halves(image, text, text_id, rng, probe):
  """The same question without the bias of `association_probe`: ACS as this project would ask it.

  Captions are permuted inside each half, so that every image and every caption of a half is once
  in a true and once in a mismatched pair, and no row has pairs in both halves.

  Args:
    image, text: (N, D) unit rows.
    text_id: (N,) id of each row's caption text; a mismatched pair never has the true text.
    rng: numpy Generator that draws the halves and the permutations.
    probe: `config.evaluate.probe`.

  Returns:
    float; NaN when an embedding holds NaN or infinity, 0.5 when all features are constant.

  Raises:
    InputError: one text fills more than half of the rows, or there are fewer than four.
  """
  image, text = np.asarray(image, np.float32), np.asarray(text, np.float32)
  text_id = np.unique(np.asarray(text_id), return_inverse=True)[1]
  feature, halves = FEATURES[probe.feature], []
  for rows in _halves(text_id, rng):
    held = rows[_mismatch(text_id[rows], rng)]
    pairs = np.concatenate([feature(image[rows], text[rows]), feature(image[rows], text[held])])
    halves.append((pairs, np.arange(len(pairs)) < len(rows)))
  if not all(np.isfinite(pairs).all() for pairs, _ in halves):
    return float("nan")
  return float(np.mean(_probe_hits(*halves, probe)))


def _probe_hits(train, test, probe):
  """Fits on (features, labels); 1.0 for each of the others that it labels right, else 0.0."""
  regression = LogisticRegression(C=probe.c, solver=probe.solver, max_iter=probe.max_iter)
  steps = (StandardScaler(), regression) if probe.standardise else (regression,)
  features, labels = test
  return np.float64(make_pipeline(*steps).fit(*train).predict(features) == labels)


def class_weights(prompts):
  """One direction per class: the mean over its prompts, renormalised (CLIP's prompt ensemble).

  Args:
    prompts: (C, P, D) unit embeddings of P prompts for each of C classes.

  Returns:
    (C, D) float32 unit rows; NaN for a class whose prompts cancel, which then never hits.
  """
  mean = jnp.mean(jnp.asarray(prompts, jnp.float32), axis=1)
  return mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)


def zero_shot_hits(images, weights, labels, class_id=None, *, block=256):
  """Whether each image's nearest class is its label; a tie (see TIE) and a NaN are misses.

  Of classes with the same name, which have the same direction, the first is nearest, as argmax has
  it: two pairs of ImageNet's classes are called alike.

  Args:
    images: (N, D) unit rows.
    weights: (C, D) class directions, see `class_weights`.
    labels: (N,) integers in [0, C).
    class_id: (C,) integers, equal for classes with the same name; None where names differ.
    block: how many images are scored at a time.

  Returns:
    (N,) bool.

  Raises:
    InputError: a label names no class.
  """
  wrong = np.flatnonzero((np.asarray(labels) < 0) | (np.asarray(labels) >= len(weights)))
  if wrong.size:
    raise InputError(
      f"labels: row {wrong[0]} has label {np.asarray(labels)[wrong[0]]}, but there are "
      f"{len(weights)} classes; labels are integers from 0 to {len(weights) - 1}."
    )
  class_id = np.arange(len(weights)) if class_id is None else np.asarray(class_id)
  return _hits(images, weights, labels, class_id, block=block)


def best_of(*scores):
  """Elementwise maximum of (N,) scores: CoreAssoc (protocol 1.5) over "name value" orders."""
  return functools.reduce(jnp.maximum, scores)


@functools.partial(jax.jit, static_argnames="block")
def _hits(images, weights, labels, class_id, *, block):
  weights = weights.astype(jnp.float32)
  column = jnp.arange(weights.shape[0])[None, :]

  def hit(rows):
    image, label = rows
    scores = _scores(image, weights)  # (B, C)
    alike = (class_id[None, :] == class_id[label][:, None]) & (column >= label[:, None])
    best = jnp.take_along_axis(scores, label[:, None], axis=1)
    return jnp.all((scores < best - TIE) | alike, axis=1) & ~jnp.isnan(best[:, 0])

  return _in_blocks(hit, (images.astype(jnp.float32), labels), block)


def _scores(rows, columns):
  return jnp.einsum("bd,gd->bg", rows, columns, precision=_HIGHEST)


def _in_blocks(f, rows, block):
  """Maps f: arrays (B, ...) -> (B,) over blocks of the leading axis.

  The rows are padded instead of `lax.map`'s remainder, which would compile f twice. A block
  takes rows one stride apart, so rows sharded over devices stay where they are.
  """
  n = jax.tree.leaves(rows)[0].shape[0]
  block = max(1, min(block, n))
  count = -(-n // block)

  def split(x):
    x = jnp.pad(x, [(0, count * block - n)] + [(0, 0)] * (x.ndim - 1))
    return jnp.swapaxes(x.reshape(block, count, *x.shape[1:]), 0, 1)

  out = jax.lax.map(f, jax.tree.map(split, rows))  # (count, block)
  return out.T.reshape(-1)[:n]


def _some(ranks):
  ranks = np.asarray(ranks)
  if not ranks.size:
    raise InputError("ranks: found no rows; a recall or reciprocal rank needs at least one query.")
  return ranks


def _halves(text_id, rng):
  """A random half of the rows and the other; rows of one text are dealt out evenly."""
  texts = rng.permutation(text_id.max(initial=-1) + 1)
  order = np.lexsort([rng.random(text_id.size), texts[text_id]])
  return order[0::2], order[1::2]


def _mismatch(text_id, rng):
  """A random permutation of the rows, none of which keeps its text.

  A uniform permutation whose offending rows each swap with a random row. If a row i holds its
  own text a, which fills m of N rows, at most 2m - 1 rows have text a or hold text a, so with
  2m <= N there is one that can swap, and the swap mends i without breaking the other.
  """
  most = np.bincount(text_id).max(initial=0)
  if not text_id.size or 2 * most > text_id.size:
    raise InputError(
      f"text_id: the most frequent caption fills {most} of the {text_id.size} rows in one half of "
      "the association probe, so not every image there can get a caption that is not its own; the "
      "probe needs at least four rows, and no caption that fills more than half of them."
    )
  held = rng.permutation(text_id.size)
  for i in np.flatnonzero(text_id[held] == text_id):
    own = text_id[i]
    if text_id[held[i]] == own:
      j = rng.choice(np.flatnonzero((text_id != own) & (text_id[held] != own)))
      held[i], held[j] = held[j], held[i]
  return held
