"""Losses of the forget half: descending on one parts images from their captions."""

import jax
import jax.numpy as jnp

from salmu_jax.losses.loss import Loss, comparing
from salmu_jax.losses.pairing import contrastive
from salmu_jax.losses.similarity import (
  log_matching,
  mean_divergence,
  mismatched,
  mismatched_mean,
  pair_log_matching,
  similarities,
  unit,
)
from salmu_jax.models.clip import Embeddings
from salmu_jax.ranges import Margin, Positive, Weight


def ascent(z: Embeddings, reference: Embeddings | None = None) -> jax.Array:
  """CLIP's loss, negated: descending on it is gradient ascent on CLIP's. Unbounded below."""
  return -contrastive(z, reference)


def bounded_ascent(margin: Margin = 0.0) -> Loss:
  """Lowers the similarity of each pair until the pair looks mismatched, and no further.

    mean_i max(S_ii - t_i, 0),    t_i = mean_{j != i} S0_ij + margin

  A pair at or below its target has no gradient. The contrastive loss could not replace the cosine:
  there each pair also pulls on all others of the batch, past their targets.
  """

  @comparing
  def loss(z, reference):
    target = mismatched_mean(reference) + margin
    return jnp.mean(jax.nn.relu(jnp.sum(z.image * z.text, axis=-1) - target))

  return loss


def pair_similarity(z: Embeddings, reference: Embeddings | None = None) -> jax.Array:
  """Mean cosine of the pairs; nothing stops it above -1."""
  del reference
  return jnp.mean(jnp.sum(z.image * z.text, axis=-1))


def zero_similarity(z: Embeddings, reference: Embeddings | None = None) -> jax.Array:
  """Mean of S^2 over all B x B: forget images and captions become orthogonal."""
  del reference
  return jnp.mean(jnp.square(similarities(z.image, z.text)))


@comparing
def decoupling(z: Embeddings, reference: Embeddings) -> jax.Array:
  """MultiDelete's modality decoupling: pairs should look as mismatched pairs did at the start.

    mean (S(u, v) - S0(u, v'))^2,    v' the captions moved on by one row

  Cheng and Amiri, MultiDelete for Multimodal Machine Unlearning (arXiv 2311.12047), section 3.2.
  """
  target = similarities(reference.image, mismatched(reference.text))
  return jnp.mean(jnp.square(similarities(z.image, z.text) - target))


@comparing
def excluded_pair(z: Embeddings, reference: Embeddings) -> jax.Array:
  """DELETE: distils from the starting model's matching with the true pair left out.

    KL(p0' to p), the mean of both directions, p0' = softmax(scale0 S0, -inf in place of the true
    pair)

  Zhou et al., Decoupled Distillation to Erase (arXiv 2503.23751). In-batch matching takes the place
  of the paper's classes; the student's softmax is over all captions, the true one included.
  """
  logits = reference.scale * similarities(reference.image, reference.text)
  logits = jnp.where(jnp.eye(logits.shape[0], dtype=bool), -jnp.inf, logits)
  teachers = jax.nn.softmax(logits, axis=1), jax.nn.softmax(logits, axis=0)
  return mean_divergence(teachers, log_matching(z))


def npo(beta: Positive = 0.1) -> Loss:
  """Negative preference optimisation: an ascent that slows down where a pair is forgotten.

    (2 / beta) mean softplus(beta (log p - log p0)) over the true pairs, both directions

  Zhang et al., Negative Preference Optimization (arXiv 2404.05868), equation 3; in-batch matching
  probabilities take the place of the likelihoods. At the start its gradient is that of `ascent`.
  """

  @comparing
  def loss(z, reference):
    ratio = pair_log_matching(z) - pair_log_matching(reference)
    return 2 / beta * jnp.mean(jax.nn.softplus(beta * ratio))

  return loss


def anchored_ascent(anchors: Weight = 1.0, perturbation: Weight = 0.5) -> Loss:
  """L2UL's ascent with adversarial anchors, which need no retain data.

    ascent + anchors x CE(u', V, i') + anchors x CE(v', U, i'),   u'_i = unit(u0_i + e (v0_i' -
    v0_i))

  u' is the starting embedding of an image pushed towards the caption i' of another row, v' likewise
  for captions; both should still match what they were pushed towards. Cha et al., Learning to
  Unlearn (arXiv 2301.11578), equation 5. There the adversary perturbs pixels; here it perturbs
  embeddings, since losses see no pixels.
  """

  @comparing
  def loss(z, reference):
    image, text = reference.image, reference.text
    push_text, push_image = mismatched(text) - text, mismatched(image) - image
    pushed_image = unit(image + perturbation * push_text)
    pushed_text = unit(text + perturbation * push_image)
    to_text = _one_way(z.scale, pushed_image, mismatched(z.text))
    to_image = _one_way(z.scale, pushed_text, mismatched(z.image))
    return ascent(z) + anchors * (to_text + to_image)

  return loss


def _one_way(scale, queries, answers):
  """Mean cross-entropy of row i of `queries` with row i of `answers`. (B, D), (B, D) -> ()."""
  return -jnp.mean(jnp.diagonal(jax.nn.log_softmax(scale * similarities(queries, answers), axis=1)))


def mismatched_target(margin: Margin = 0.0, softness: Positive = 0.05) -> Loss:
  """Pulls the similarity of each pair to what mismatched pairs had at the start, from both sides.

    mean_i sqrt((S_ii - t_i)^2 + softness^2) - softness,    t_i = mean_{j != i} S0_ij + margin

  Every pair pulls equally until it is near its target, so the last pairs are not left behind. A
  pair that the others push past its target comes back. This project's own.
  """

  @comparing
  def loss(z, reference):
    off = jnp.sum(z.image * z.text, axis=-1) - mismatched_mean(reference) - margin
    return jnp.mean(jnp.sqrt(jnp.square(off) + softness**2)) - softness

  return loss


@comparing
def neutral_target(z: Embeddings, reference: Embeddings) -> jax.Array:
  """Moves each caption to where its caption free of private values was at the start.

    mean_i (1 - v_i . g0_i),    g the embeddings of the captions free of private values

  After Kravets and Namboodiri, Zero-shot CLIP Class Forgetting via Text-image Space Adaptation
  (TMLR 2025), whose neutral place is the embedding of the empty text.
  """
  return jnp.mean(1 - jnp.sum(z.text * reference.generic, axis=-1))


@comparing
def component_removed(z: Embeddings, reference: Embeddings) -> jax.Array:
  """Moves each caption to where it was, less its component along the embedding of its image.

    mean_i (1 - v_i . unit(v0_i - (v0_i . u0_i) u0_i))

  This project's own.
  """
  u, v = reference.image, reference.text
  goal = unit(v - jnp.sum(u * v, axis=-1, keepdims=True) * u)
  return jnp.mean(1 - jnp.sum(z.text * goal, axis=-1))
