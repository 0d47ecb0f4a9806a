"""The association probe finds associations, is unbiased in halves, and is the released one."""

import jax.numpy as jnp
import numpy as np
import pytest
import threadpoolctl
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from unitrows import associated, unit

from salmu_jax import defaults
from salmu_jax.errors import InputError
from salmu_jax.evaluate import metrics

PROBE = defaults.get_config().evaluate.probe


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


def test_the_probe_separates_associated_pairs_better_the_stronger_they_are():
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
    order = metrics._mismatch(ids, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(ids)))
    assert (ids[order] != ids).all()


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
  accuracies = {"released": [], "in halves": []}
  for seed in range(8):
    image, text = (unit(300, 64, seed=s) + 0.5 for s in (2 * seed, 2 * seed + 1))
    rng = np.random.RandomState(seed)
    accuracies["released"].append(metrics.association_probe(image, text, rng, PROBE))
    rng = np.random.default_rng(seed)
    accuracies["in halves"].append(
      metrics.association_probe_in_halves(image, text, np.arange(300), rng, PROBE)
    )
  assert np.mean(accuracies["released"]) < 0.45 < np.mean(accuracies["in halves"]) < 0.55


def test_the_released_probe_refuses_a_single_row_and_is_nan_on_nan():
  with pytest.raises(InputError, match="at least two rows; there are 1"):
    metrics.association_probe(np.ones((1, 4)), np.ones((1, 4)), np.random.RandomState(0), PROBE)
  broken = np.full((6, 4), np.nan)
  assert np.isnan(metrics.association_probe(broken, broken, np.random.RandomState(0), PROBE))


def test_the_probe_is_fitted_by_one_thread_however_many_cores_there_are(monkeypatch):
  threads, fit = [], LogisticRegression.fit

  def recorded(self, *args):
    threads.extend(library["num_threads"] for library in threadpoolctl.threadpool_info())
    return fit(self, *args)

  monkeypatch.setattr(LogisticRegression, "fit", recorded)
  with threadpoolctl.threadpool_limits(2):
    probe()
  assert set(threads) == {1}
