"""Losses against values computed by hand and by numpy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from salmu_jax import losses
from salmu_jax.models.clip import Embeddings

RNG = np.random.default_rng(0)


def units(rows=5, dim=6):
  x = RNG.normal(size=(rows, dim))
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def embeddings(rows=5, scale=4.0):
  return Embeddings(units(rows), units(rows), jnp.float32(scale), units(rows))


MAKERS = ("anchored_ascent", "bounded_ascent", "mismatched_target", "npo")
NO_LOSSES = ("Loss", "comparing", "compares", "matching_accuracy", "similarities", "weighted")
EVERY = {
  **{name: getattr(losses, name) for name in {*losses.__all__} - {*MAKERS, *NO_LOSSES}},
  **{name: getattr(losses, name)() for name in MAKERS},
  "weighted of none that compares": losses.weighted((2.0, losses.ascent), (1.0, losses.sigmoid)),
  "weighted of one that compares": losses.weighted((2.0, losses.ascent), (1.0, losses.retention)),
  "weighted of weighted": losses.weighted((1.0, losses.weighted((1.0, losses.divergence)))),
}


@pytest.mark.parametrize("name", sorted(EVERY))
def test_exactly_the_losses_that_say_they_compare_cannot_do_without_a_reference(name):
  bias, surrogate = jnp.float32(-1.0), np.stack([units(), units()], axis=1)
  z = embeddings()._replace(bias=bias, surrogate=surrogate)
  assert np.isfinite(EVERY[name](z, z))
  if losses.compares(EVERY[name]):
    with pytest.raises(AttributeError, match="NoneType"):
      EVERY[name](z, None)
  else:
    assert EVERY[name](z, None) == EVERY[name](z, z) == EVERY[name](z)


def contrastive_by_loops(image, text, scale):
  logits = scale * np.asarray(image, np.float64) @ np.asarray(text, np.float64).T
  total = 0.0
  for i in range(len(logits)):
    total += np.log(np.exp(logits[i]).sum()) - logits[i, i]
    total += np.log(np.exp(logits[:, i]).sum()) - logits[i, i]
  return total / (2 * len(logits))


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_contrastive_equals_loops(scale):
  z = embeddings(scale=scale)
  expected = contrastive_by_loops(z.image, z.text, scale)
  np.testing.assert_allclose(losses.contrastive(z), expected, rtol=1e-5)


def test_contrastive_of_a_perfect_two_by_two_is_the_hand_computed_value():
  z = Embeddings(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), jnp.float32(2.0))
  np.testing.assert_allclose(losses.contrastive(z), np.log(1 + np.exp(-2.0)), rtol=1e-6)


def test_generic_loss_reads_generic_captions_alone():
  z = embeddings()
  expected = contrastive_by_loops(z.image, z.generic, 4.0)
  np.testing.assert_allclose(losses.contrastive_generic(z), expected, rtol=1e-5)
  other = z._replace(text=units())
  assert losses.contrastive_generic(other) == losses.contrastive_generic(z)


def test_pair_similarity_is_the_mean_of_the_pairs_cosines():
  z = Embeddings(
    np.array([[1.0, 0], [0, 1]], np.float32),
    np.array([[0.6, 0.8], [0, -1]], np.float32),
    jnp.float32(1.0),
  )
  np.testing.assert_allclose(losses.pair_similarity(z), (0.6 - 1) / 2, rtol=1e-6)


def test_decoupling_compares_with_the_references_captions_moved_on_by_one():
  z, reference = embeddings(), embeddings()
  n, total = 5, 0.0
  for i in range(n):
    for j in range(n):
      target = reference.image[i] @ reference.text[(j - 1) % n]
      total += (z.image[i] @ z.text[j] - target) ** 2
  np.testing.assert_allclose(losses.decoupling(z, reference), total / n**2, rtol=1e-5)


def test_retention_is_zero_at_the_reference_and_sums_three_squared_errors():
  z, reference = embeddings(), embeddings()
  assert losses.retention(z, z) == 0.0

  def fused(e):
    mean = (e.image + e.text) / 2
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)

  expected = (
    np.mean((fused(z) - fused(reference)) ** 2)
    + np.mean((z.image - reference.image) ** 2)
    + np.mean((z.text - reference.text) ** 2)
  )
  np.testing.assert_allclose(losses.retention(z, reference), expected, rtol=1e-5)


def test_retention_has_finite_gradients_where_image_and_text_are_opposite():
  image = units()
  z = Embeddings(image, -image, jnp.float32(1.0))
  gradient = jax.grad(lambda u: losses.retention(z._replace(image=u), embeddings()))(image)
  assert np.all(np.isfinite(gradient))


def test_matching_accuracy_counts_ties_as_misses():
  z = embeddings()
  hits = [np.argmax(z.text @ u) == i for i, u in enumerate(z.image)]
  assert losses.matching_accuracy(z) == np.mean(hits, dtype=np.float32)
  flat = Embeddings(np.ones((4, 1), np.float32), np.ones((4, 1), np.float32), jnp.float32(1.0))
  assert losses.matching_accuracy(flat) == 0.0


# A 3 x 3 case by hand: unit rows in the plane, scale 1; S and S0 are their cosines.
ANGLES = (np.array([0, 60, 120]), np.array([60, 120, 240]))
ANGLES_0 = (np.array([0, 90, 180]), np.array([0, 90, 270]))


def plane(angles, scale=1.0):
  u, v = (np.stack([np.cos(np.radians(a)), np.sin(np.radians(a))], 1) for a in angles)
  return Embeddings(u.astype(np.float32), v.astype(np.float32), jnp.float32(scale))


Z, Z0 = plane(ANGLES), plane(ANGLES_0)
S = np.array([[0.5, -0.5, -0.5], [1.0, 0.5, -1.0], [0.5, 1.0, -0.5]])
S0 = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0], [-1.0, 0.0, 0.0]])


def softmax(x, axis):
  return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


P = [softmax(S, 1), softmax(S, 0)]
P0 = [softmax(S0, 1), softmax(S0, 0)]


def kl(p, q):
  return np.mean(
    [
      np.sum(np.where(a > 0, a * np.log(np.where(a > 0, a, 1) / b), 0)) / 3
      for a, b in zip(p, q, strict=True)
    ]
  )


def test_the_hand_made_cosines_are_those_of_the_embeddings():
  np.testing.assert_allclose(losses.similarities(Z.image, Z.text), S, atol=1e-6)
  np.testing.assert_allclose(losses.similarities(Z0.image, Z0.text), S0, atol=1e-6)


def shuffled(s):
  return s[:, [2, 0, 1]]  # the caption before one's own


LOG = np.array([np.diagonal(np.log(p)) for p in P])
RATIO = LOG - np.array([np.diagonal(np.log(p)) for p in P0])
# Squared chords, 2 - 2 cos, between u and u0 (0, 30 and 60 degrees) and between v and v0 (60, 30,
# 30).
CHORDS = 2 - 2 * np.cos(np.radians([[0, 30, 60], [60, 30, 30]]))
# The same between their middles: at 30, 90 and 180 degrees now, at 0, 90 and 225 then.
FUSED = 2 - 2 * np.cos(np.radians([30 - 0, 90 - 90, 180 - 225]))
BY_HAND = {
  "contrastive": (losses.contrastive, -LOG.mean()),
  "ascent": (losses.ascent, LOG.mean()),
  "contrastive_shuffled": (
    losses.contrastive_shuffled,
    -np.mean([np.diagonal(np.log(softmax(shuffled(S), k))) for k in (1, 0)]),
  ),
  "pair_similarity": (losses.pair_similarity, (0.5 + 0.5 - 0.5) / 3),
  "zero_similarity": (losses.zero_similarity, (5 * 0.25 + 0.25 + 3 * 1.0) / 9),
  "decoupling": (losses.decoupling, np.mean((S - shuffled(S0)) ** 2)),
  "similarity_retention": (losses.similarity_retention, (0.75 + 1.25 + 3.5) / 9),
  "embedding_retention": (losses.embedding_retention, CHORDS.sum() / 6),
  "retention": (losses.retention, FUSED.sum() / 6 + CHORDS.sum() / 6),
  "contrastive_generic": (
    lambda z, z0: losses.contrastive_generic(z._replace(text=z0.text, generic=z.text), z0),
    -LOG.mean(),
  ),
  "divergence": (losses.divergence, kl(P0, P)),
  "delete": (
    losses.excluded_pair,
    kl([softmax(np.where(np.eye(3), -np.inf, S0), k) for k in (1, 0)], P),
  ),
  "npo": (losses.npo(0.5), 4 * np.mean(np.log1p(np.exp(0.5 * RATIO)))),
  # The targets are 0, -.5 and -.5: the third pair is at its own.
  "bounded_ascent": (losses.bounded_ascent(), ((0.5 - 0) + (0.5 + 0.5) + 0) / 3),
  # The targets are the same; the first two pairs are .5 and 1 away from them.
  "mismatched_target": (
    losses.mismatched_target(softness=0.1),
    (np.sqrt(0.25 + 0.01) + np.sqrt(1 + 0.01) + 0.1) / 3 - 0.1,
  ),
  # Of v0 at 0, 90 and 270 degrees beside u0 at 0, 90 and 180, only the last has something left.
  "component_removed": (losses.component_removed, (1 + 1 + (1 - np.cos(np.radians(30)))) / 3),
  "text_retention": (losses.text_retention, CHORDS[1].sum() / 6),
  # The captions are at 60, 120 and 240 degrees, their neutral ones at 0, 90 and 180.
  "neutral_target": (
    lambda z, z0: losses.neutral_target(z, z0._replace(generic=z0.image)),
    np.mean(1 - np.cos(np.radians([60, 30, 60]))),
  ),
  "weighted": (
    losses.weighted((2.0, losses.pair_similarity), (3.0, losses.zero_similarity)),
    2 * 0.5 / 3 + 3 * 4.5 / 9,
  ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_losses_of_the_three_by_three_case_are_the_hand_computed_values(name):
  loss, expected = BY_HAND[name]
  np.testing.assert_allclose(loss(Z, Z0), expected, rtol=2e-5)


def test_the_adversarial_anchors_push_each_embedding_to_its_wrong_partner():
  u0, v0, total = Z0.image, Z0.text, 0.0
  for a, b, answers in ((u0, v0, Z.text), (v0, u0, Z.image)):
    pushed = a + 0.4 * (np.roll(b, 1, 0) - b)
    pushed = pushed / np.linalg.norm(pushed, axis=1, keepdims=True)
    total += -np.mean(np.diagonal(np.log(softmax(pushed @ np.roll(answers, 1, 0).T, 1))))
  loss = losses.anchored_ascent(anchors=2.0, perturbation=0.4)
  np.testing.assert_allclose(loss(Z, Z0), LOG.mean() + 2 * total, rtol=1e-5)


COMPARING = {
  "bounded_ascent": losses.bounded_ascent(),
  "delete": losses.excluded_pair,
  "npo": losses.npo(),
  "anchored_ascent": losses.anchored_ascent(),
  "mismatched_target": losses.mismatched_target(),
  "component_removed": losses.component_removed,
  "divergence": losses.divergence,
  "decoupling": losses.decoupling,
}


@pytest.mark.parametrize("name", COMPARING)
def test_comparing_losses_have_finite_values_and_gradients_at_the_largest_scale(name):
  z, reference = embeddings(scale=100.0), embeddings(scale=100.0)
  value, slope = jax.value_and_grad(COMPARING[name])(z._replace(generic=None), reference)
  assert np.isfinite(value)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(slope))


def test_npos_gradient_at_the_start_is_that_of_the_ascent_and_fades_where_pairs_are_forgotten():
  slope = lambda loss, z, z0: jax.grad(lambda u: loss(z._replace(image=u), z0))(z.image)
  for beta in (0.1, 2.0):
    start = slope(losses.npo(beta), Z0, Z0)
    np.testing.assert_allclose(start, slope(losses.ascent, Z0, Z0), rtol=1e-4, atol=1e-6)
  remembered = plane((np.array([0, 90, 180]), np.array([0, 90, 180])), scale=30.0)
  forgotten = plane((np.array([0, 90, 180]), np.array([180, 0, 90])), scale=30.0)
  faded = slope(losses.npo(2.0), forgotten, remembered)
  assert np.abs(faded).max() < 1e-3 * np.abs(slope(losses.ascent, forgotten, remembered)).max()


def test_deletes_teacher_gives_the_true_pair_no_mass():
  apart = plane((np.array([0, 180]), np.array([180, 0])), scale=50.0)  # only the other pair matches
  np.testing.assert_allclose(losses.excluded_pair(apart, apart), 0.0, atol=1e-6)
  together = plane((np.array([0, 180]), np.array([0, 180])), scale=50.0)
  assert losses.excluded_pair(together, together) > 90


def test_the_bounded_ascent_stops_pair_by_pair_at_its_target():
  slope = lambda margin, z: jax.grad(
    lambda u: losses.bounded_ascent(margin)(z._replace(image=u), Z0)
  )(z.image)
  np.testing.assert_allclose(slope(0.0, Z)[:2], Z.text[:2] / 3, rtol=1e-5)
  np.testing.assert_array_equal(slope(0.0, Z)[2], 0.0)  # at its target
  np.testing.assert_array_equal(slope(2.0, Z), 0.0)  # everything is below a target of 1.5 and more


def test_the_mismatched_target_pulls_all_pairs_alike_and_brings_back_the_one_that_went_past():
  margins = [-1.0, 1.0]
  slopes = [
    jax.grad(lambda u, m=m: losses.mismatched_target(m)(Z._replace(image=u), Z0))(Z.image)
    for m in margins
  ]
  for slope, sign in zip(slopes, (1, -1), strict=True):
    along = np.sum(slope * Z.text, axis=1)
    far = np.abs(np.diagonal(S) - np.array([0.0, -0.5, -0.5]) + sign) > 0.4
    np.testing.assert_allclose(along[far], sign / 3, rtol=2e-2)


def test_surrogates_are_held_by_the_mean_of_one_less_their_cosines():
  reference = embeddings()._replace(surrogate=np.stack([units(), units()], axis=1))
  z = embeddings()._replace(surrogate=np.stack([units(), units()], axis=1))
  expected = 1 - np.mean(np.sum(z.surrogate * reference.surrogate, axis=-1))
  np.testing.assert_allclose(losses.surrogate_retention(z, reference), expected, rtol=1e-5)
  np.testing.assert_allclose(losses.surrogate_retention(z, z), 0, atol=1e-6)


def test_divergence_is_zero_with_zero_gradient_at_the_start():
  z = embeddings()
  value, slope = jax.value_and_grad(losses.divergence)(z._replace(generic=None), z)
  np.testing.assert_allclose(value, 0.0, atol=1e-6)
  np.testing.assert_allclose(slope.image, 0.0, atol=1e-5)
