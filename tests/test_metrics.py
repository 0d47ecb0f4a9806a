"""Every metric against a brute-force reference, on random and on adversarial embeddings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from salmu_jax import defaults
from salmu_jax.errors import InputError
from salmu_jax.evaluate import metrics

PROBE = defaults.get_config().evaluate.probe

WHOLE, ROWS = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("data")


def unit(*shape, seed=0):
  x = np.random.default_rng(seed).normal(size=shape)
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def associated(n, dim, strength, seed=0):
  """Image and text embeddings whose pairs are related by `strength`, unrelated at 0."""
  image, noise = unit(n, dim, seed=seed), unit(n, dim, seed=seed + 1)
  text = strength * image + noise
  return image, (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)


def dot(a, b):
  return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


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
  """Random queries with ties, duplicates of the own text and NaNs in the gallery and the rows."""
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
  out = jax.jit(lambda x: metrics._in_blocks(body, x, 4))(rows)
  np.testing.assert_array_equal(out, rows.sum(1))
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


def probe(n=800, dim=32, strength=0.0, seed=5, data=0):
  image, text = associated(n, dim, strength, seed=data)
  return metrics.association_probe_in_halves(
    image, text, np.arange(n), np.random.default_rng(seed), PROBE
  )


@pytest.mark.parametrize("mean", [0.0, 0.5])
@pytest.mark.parametrize(("n", "dim"), [(300, 8), (300, 64), (60, 64)])
def test_the_probe_is_at_chance_on_unrelated_pairs(n, dim, mean):
  accuracies = []
  for seed in range(2400 // n):
    # Each modality points mostly one way, as CLIP's do: rows can be learnt, associations cannot.
    image, text = (unit(n, dim, seed=s) + mean for s in (2 * seed, 2 * seed + 1))
    rng = np.random.default_rng(seed)
    accuracies.append(metrics.association_probe_in_halves(image, text, np.arange(n), rng, PROBE))
  assert abs(np.mean(accuracies) - 0.5) < 0.035


def test_the_probe_tells_associated_pairs_and_tells_them_better_the_stronger_they_are():
  weak, strong, sure = (probe(strength=s) for s in (0.2, 0.5, 3.0))
  assert 0.55 < weak < strong < sure
  assert sure > 0.99


def test_the_probe_finds_an_association_that_the_cosine_does_not_show():
  image, text = associated(800, 32, 3.0)
  text *= np.where(np.arange(32) % 2, -1, 1)  # half of the dimensions agree, half oppose
  accuracy = metrics.association_probe_in_halves(
    image, text, np.arange(800), np.random.default_rng(0), PROBE
  )
  assert accuracy > 0.95
  assert abs(float(jnp.mean(metrics.cosines(image, text)))) < 0.05


def test_the_probe_depends_on_its_generator_and_on_nothing_else():
  assert probe(strength=0.2, seed=1) == probe(strength=0.2, seed=1)
  assert len({probe(strength=0.2, seed=seed) for seed in range(4)}) > 1


def test_the_probe_of_a_collapsed_model_is_at_chance_and_of_a_broken_one_is_nan():
  point, rng = np.tile(unit(1, 16), (50, 1)), np.random.default_rng(0)
  assert metrics.association_probe_in_halves(point, point, np.arange(50), rng, PROBE) == 0.5
  broken = unit(50, 16)
  broken[3, 2] = np.nan
  assert np.isnan(metrics.association_probe_in_halves(point, broken, np.arange(50), rng, PROBE))


@pytest.mark.parametrize("n", [4, 5, 7])
def test_the_probe_works_on_a_handful_of_rows(n):
  assert 0.0 <= probe(n=n) <= 1.0


@pytest.mark.parametrize(
  "text_id",
  [
    np.arange(2),
    np.arange(101),
    np.repeat(np.arange(20), 5),
    np.repeat([0, 1], 30),  # exactly half: the two texts have to swap
    np.concatenate([np.zeros(30, int), np.arange(1, 32)]),
  ],
)
def test_a_mismatched_pair_never_has_the_true_text(text_id):
  for seed in range(20):
    ids = np.random.default_rng(seed).permutation(text_id)
    held = metrics._mismatch(ids, np.random.default_rng(seed))
    assert sorted(held) == list(range(len(ids)))
    assert (ids[held] != ids).all()


@pytest.mark.parametrize("text_id", [np.arange(9), np.repeat([0, 1, 2], [1, 4, 8]), np.arange(0)])
def test_halves_share_no_row_and_share_every_text(text_id):
  for seed in range(20):
    first, second = metrics._halves(text_id, np.random.default_rng(seed))
    assert sorted([*first, *second]) == list(range(len(text_id)))
    assert len(first) - len(second) == len(text_id) % 2
    for text in np.unique(text_id):
      assert abs(np.sum(text_id[first] == text) - np.sum(text_id[second] == text)) <= 1


def test_halves_are_drawn_afresh_and_evenly():
  draws = [metrics._halves(np.arange(6), np.random.default_rng(seed))[0] for seed in range(1000)]
  np.testing.assert_allclose(np.bincount(np.ravel(draws)) / 1000, 0.5, atol=0.06)


def test_texts_may_be_named_by_strings_and_repeat():
  image, text = associated(60, 16, 3.0)
  names = np.array([f"text {i // 3}" for i in range(60)])
  numbers = np.unique(names, return_inverse=True)[1]
  first, second = (
    metrics.association_probe_in_halves(image, text, ids, np.random.default_rng(0), PROBE)
    for ids in (names, numbers)
  )
  assert first == second > 0.8


def test_mismatched_captions_come_from_everywhere():
  draws = [metrics._mismatch(np.arange(5), np.random.default_rng(s)) for s in range(2000)]
  share = np.stack([np.stack(draws) == j for j in range(5)]).mean(1)  # (caption, row)
  np.testing.assert_allclose(share, (1 - np.eye(5)) / 4, atol=0.05)


@pytest.mark.parametrize("text_id", [[], [4], [0, 1, 2], [0, 0, 0, 1, 1], np.zeros(10, int)])
def test_a_text_that_fills_more_than_half_of_the_rows_is_an_error(text_id):
  n = len(text_id)
  with pytest.raises(InputError, match=r"most frequent caption fills \d of the \d rows"):
    metrics.association_probe_in_halves(
      np.ones((n, 4)), np.ones((n, 4)), np.asarray(text_id, int), np.random.default_rng(0), PROBE
    )


def test_the_released_probe_is_a_stratified_half_of_all_pairs_from_the_global_generators_stream():
  image, text = associated(90, 16, 0.8)
  # As a script that seeds numpy's global generator would write it.
  np.random.seed(7)  # noqa: NPY002
  permuted = np.random.permutation(90)  # noqa: NPY002
  x = np.concatenate([image * text, image * text[permuted]])
  y = np.array([True] * 90 + [False] * 90)
  train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.5, stratify=y)
  expected = LogisticRegression(max_iter=1000).fit(train_x, train_y).score(test_x, test_y)
  plain = PROBE.copy_and_resolve_references()
  plain.standardise = False
  assert metrics.association_probe(image, text, np.random.RandomState(7), plain) == expected
  assert 0.5 < expected < 1.0


def test_each_reading_of_the_probe_sees_other_features_and_all_find_an_association():
  image, text = associated(400, 16, 3.0)
  sizes = {name: feature(image, text).shape for name, feature in metrics.FEATURES.items()}
  assert sizes == {
    "product": (400, 16),
    "product_and_both": (400, 48),
    "absolute_difference": (400, 16),
  }
  for name in metrics.FEATURES:
    probe = PROBE.copy_and_resolve_references()
    probe.feature = name
    assert metrics.association_probe(image, text, np.random.RandomState(0), probe) > 0.85


def test_the_released_probe_is_biased_on_few_rows_where_halves_are_not():
  both = {"released": [], "in halves": []}
  for seed in range(8):
    image, text = (unit(300, 64, seed=s) + 0.5 for s in (2 * seed, 2 * seed + 1))
    rng = np.random.RandomState(seed)
    both["released"].append(metrics.association_probe(image, text, rng, PROBE))
    rng = np.random.default_rng(seed)
    both["in halves"].append(
      metrics.association_probe_in_halves(image, text, np.arange(300), rng, PROBE)
    )
  assert np.mean(both["released"]) < 0.45 < np.mean(both["in halves"]) < 0.55


def test_the_released_probe_refuses_a_single_row_and_is_nan_on_nan():
  with pytest.raises(InputError, match="at least two rows; there are 1"):
    metrics.association_probe(np.ones((1, 4)), np.ones((1, 4)), np.random.RandomState(0), PROBE)
  broken = np.full((6, 4), np.nan)
  assert np.isnan(metrics.association_probe(broken, broken, np.random.RandomState(0), PROBE))


def test_class_weights_are_the_normalised_means():
  prompts = unit(5, 3, 8)
  for row, weight in zip(prompts, metrics.class_weights(prompts), strict=True):
    mean = [sum(float(p[d]) for p in row) / 3 for d in range(8)]
    np.testing.assert_allclose(weight, mean / np.sqrt(dot(mean, mean)), atol=1e-6)
  one = unit(1, 1, 8)
  np.testing.assert_allclose(metrics.class_weights(one), one[:, 0], atol=1e-6)


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


def test_of_classes_that_are_called_alike_the_first_is_nearest_as_argmax_has_it():
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
