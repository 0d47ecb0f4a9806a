"""Retrieval and zero-shot metrics against brute-force references, on adversarial embeddings too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from unitrows import associated, dot, unit

from salmu_jax import defaults
from salmu_jax.errors import InputError
from salmu_jax.evaluate import metrics

PROBE = defaults.get_config().evaluate.probe
WHOLE, ROWS = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("data")


def ranks_by_hand(queries, own, own_id, gallery, gallery_id):
  ranks = []
  for query, answer, answer_id in zip(queries, own, own_id, strict=True):
    best, rank = dot(query, answer), 0
    for caption, caption_id in zip(gallery, gallery_id, strict=True):
      if caption_id != answer_id and not dot(query, caption) < best - metrics.TIE:
        rank += 1
    ranks.append(rank)
  return ranks


def hits_by_hand(images, weights, labels):
  hits = []
  for image, label in zip(images, labels, strict=True):
    scores = [dot(image, weight) for weight in weights]
    rivals = [score for c, score in enumerate(scores) if c != label]
    hits.append(
      all(score < scores[label] - metrics.TIE for score in rivals)
      and scores[label] == scores[label]
    )
  return hits


def retrieval_task(q, g, dim=16):
  """Random queries with ties, duplicates of the own text, and NaN in gallery and rows."""
  queries, own = associated(q, dim, 0.4)
  gallery, own_id = unit(g, dim, seed=7), np.arange(q)
  gallery_id = 1000 + np.arange(g)
  gallery[0], gallery_id[0] = own[0], own_id[0]  # its own text: no competitor
  if g > 3:
    gallery[1] = own[q // 2]  # another text with the very same embedding: ranks above
    gallery[2] = np.nan
    gallery_id[3] = own_id[q - 1]  # the same text, embedded differently: no competitor either
  if q > 4:
    own[q - 2] = np.nan
    queries[q - 3] = np.nan
  return queries, own, own_id, gallery, gallery_id


def test_cosines_are_the_rowwise_products():
  image, text = unit(13, 24), unit(13, 24, seed=1)
  expected = [dot(u, v) for u, v in zip(image, text, strict=True)]
  np.testing.assert_allclose(metrics.cosines(image, text), expected, atol=1e-6)
  assert metrics.cosines(image[:1], text[:1]).shape == (1,)


@pytest.mark.parametrize(("q", "g"), [(1, 1), (1, 9), (5, 1), (7, 12), (8, 12), (21, 40)])
@pytest.mark.parametrize("block", [1, 4, 256])
def test_ranks_are_those_counted_by_hand(q, g, block):
  task = retrieval_task(q, g)
  ranks = metrics.retrieval_ranks(*task, block=block)
  assert ranks.dtype == jnp.int32
  np.testing.assert_array_equal(ranks, ranks_by_hand(*task))


def test_an_identical_embedding_of_another_text_ranks_above_and_of_the_same_text_does_not():
  queries, own = associated(37, 512, 1.0)
  ids = np.arange(37)
  ranks = functools.partial(metrics.retrieval_ranks, queries, own, ids, own, block=8)
  assert metrics.recall_at(ranks(gallery_id=ids), 1) == 1.0
  assert metrics.recall_at(ranks(gallery_id=ids + 100), 1) == 0.0
  np.testing.assert_array_equal(ranks(gallery_id=ids + 100), 1)


@pytest.mark.parametrize("dim", [1, 3, 128, 513])
@pytest.mark.parametrize("q", [1, 5, 33])
def test_a_collapsed_model_ranks_last(q, dim):
  point = unit(1, dim, seed=3)
  ranks = metrics.retrieval_ranks(
    unit(q, dim), np.tile(point, (q, 1)), np.arange(q), np.tile(point, (41, 1)), 100 + np.arange(41)
  )
  np.testing.assert_array_equal(ranks, 41)


def test_a_model_that_returns_nan_ranks_last():
  task = [np.full((6, 8), np.nan), np.full((6, 8), np.nan), np.arange(6)]
  ranks = metrics.retrieval_ranks(*task, np.full((9, 8), np.nan), 10 + np.arange(9))
  np.testing.assert_array_equal(ranks, 9)


def test_ranks_never_hold_all_queries_times_the_gallery():
  q, g, dim = 4096, 512, 8
  shape = jax.ShapeDtypeStruct
  compiled = metrics.retrieval_ranks.lower(
    shape((q, dim), np.float32),
    shape((q, dim), np.float32),
    shape((q,), np.int32),
    shape((g, dim), np.float32),
    shape((g,), np.int32),
    block=32,
  ).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < q * g  # not even as booleans


def test_a_remainder_is_padded_and_not_traced_again():
  traces = []

  def body(x):
    traces.append(x.shape)
    return jnp.sum(x, axis=1)

  rows = np.arange(26.0, dtype=np.float32).reshape(13, 2)
  sums = jax.jit(lambda x: metrics._in_blocks(body, x, 4))(rows)
  np.testing.assert_array_equal(sums, rows.sum(1))
  assert traces == [(4, 2)]


def test_recall_and_reciprocal_rank_are_their_definitions():
  ranks = jnp.asarray([0, 3, 1, 9])
  assert metrics.recall_at(ranks, 1) == 0.25
  assert metrics.recall_at(ranks, 2) == 0.5
  assert metrics.recall_at(ranks, 10) == 1.0
  assert metrics.mean_reciprocal_rank(ranks) == pytest.approx((1 + 1 / 4 + 1 / 2 + 1 / 10) / 4)
  for metric in (functools.partial(metrics.recall_at, k=1), metrics.mean_reciprocal_rank):
    with pytest.raises(InputError, match="no rows"):
      metric(np.zeros(0, int))


def test_class_weights_are_the_normalised_means():
  prompts = unit(5, 3, 8)
  for row, weight in zip(prompts, metrics.class_weights(prompts), strict=True):
    mean = [sum(float(p[d]) for p in row) / 3 for d in range(8)]
    np.testing.assert_allclose(weight, mean / np.sqrt(dot(mean, mean)), atol=1e-6)
  prompt = unit(1, 1, 8)
  np.testing.assert_allclose(metrics.class_weights(prompt), prompt[:, 0], atol=1e-6)


@pytest.mark.parametrize(("n", "classes"), [(1, 1), (1, 5), (9, 2), (8, 6), (30, 6)])
@pytest.mark.parametrize("block", [1, 4, 256])
def test_hits_are_those_counted_by_hand(n, classes, block):
  weights = unit(classes, 12)
  labels = np.random.default_rng(1).integers(classes, size=n)
  images = (weights[labels] + 0.3 * unit(n, 12, seed=2) * np.sqrt(12)).astype(np.float32)
  if classes > 4:
    weights[4] = weights[3]  # a tie wherever either is the label
  if n > 8:
    images[5] = np.nan
  hits = metrics.zero_shot_hits(images, weights, labels, block=block)
  assert hits.dtype == bool
  np.testing.assert_array_equal(hits, hits_by_hand(images, weights, labels))


def test_of_classes_with_the_same_name_the_first_is_nearest_as_in_argmax():
  names = ["cat", "missile", "dog", "missile"]
  weights = unit(3, 16)[[0, 1, 2, 1]]
  images = np.concatenate([weights[[1, 1, 0, 2]], -weights[[1]]])
  labels = np.array([1, 3, 0, 2, 1])
  class_id = [names.index(name) for name in names]
  hits = metrics.zero_shot_hits(images, weights, labels, class_id)
  np.testing.assert_array_equal(hits, np.argmax(images @ weights.T, axis=1) == labels)
  np.testing.assert_array_equal(hits, [True, False, True, True, False])
  collapsed = np.ones((4, 16), np.float32) / 4
  assert not metrics.zero_shot_hits(collapsed[:1], collapsed, np.array([1]), class_id).any()


def test_ties_and_nans_are_misses():
  images, labels = unit(10, 64), np.arange(10) % 4
  collapsed = np.tile(unit(1, 64, seed=1), (4, 1))
  assert not metrics.zero_shot_hits(images, collapsed, labels).any()
  for broken in ((np.full_like(images, np.nan), unit(4, 64)), (images, np.full((4, 64), np.nan))):
    assert not metrics.zero_shot_hits(*broken, labels).any()
  assert not metrics.zero_shot_hits(images * np.nan, unit(1, 64), np.zeros(10, int)).any()
  weights = unit(4, 64, seed=2)
  assert metrics.zero_shot_hits(weights, weights, np.arange(4)).all()
  weights[3] = np.nan  # one class without a direction may be anything: nothing is a hit
  assert not metrics.zero_shot_hits(weights, weights, np.arange(4)).any()


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_without_a_class_is_an_error(label):
  with pytest.raises(InputError, match=f"row 1 has label {label}, but there are 3 classes"):
    metrics.zero_shot_hits(unit(2, 4), unit(3, 4), np.array([0, label]))


def test_best_of_is_the_larger_and_keeps_nan():
  a, b = np.float32([0.1, 0.5, np.nan]), np.float32([0.3, -0.5, 0.2])
  np.testing.assert_array_equal(metrics.best_of(a, b), np.float32([0.3, 0.5, np.nan]))
  np.testing.assert_array_equal(metrics.best_of(b, a), np.float32([0.3, 0.5, np.nan]))
  np.testing.assert_array_equal(metrics.best_of(b), b)


@pytest.mark.parametrize("block", [8, 12, 256])
@pytest.mark.parametrize("gallery_spec", [WHOLE, ROWS])
def test_eight_devices_give_what_one_gives(block, gallery_spec):
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

  def put(x, spec=ROWS):
    return jax.device_put(x, jax.sharding.NamedSharding(mesh, spec))

  queries, own, own_id, gallery, gallery_id = task = retrieval_task(40, 24, dim=64)
  ranks = metrics.retrieval_ranks(
    put(queries), put(own), put(own_id), put(gallery, gallery_spec), put(gallery_id, gallery_spec),
    block=block,
  )  # fmt: skip
  np.testing.assert_array_equal(ranks, metrics.retrieval_ranks(*task, block=block))
  np.testing.assert_array_equal(ranks, ranks_by_hand(*task))
  labels = np.arange(40) % 24
  weights = np.nan_to_num(gallery)
  np.testing.assert_array_equal(
    metrics.zero_shot_hits(put(queries), put(weights, gallery_spec), put(labels), block=block),
    metrics.zero_shot_hits(queries, weights, labels, block=block),
  )
  np.testing.assert_allclose(
    metrics.cosines(put(queries), put(own)), metrics.cosines(queries, own), atol=1e-6
  )
  text, rngs = np.nan_to_num(own), [np.random.default_rng(3) for _ in range(2)]
  image = np.nan_to_num(queries)
  assert metrics.association_probe_in_halves(
    put(image), put(text), put(own_id), rngs[0], PROBE
  ) == metrics.association_probe_in_halves(image, text, own_id, rngs[1], PROBE)
