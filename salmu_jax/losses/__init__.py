"""Losses on embeddings: `loss(z, reference) -> ()`, mathematics on matrices with unit rows.

`z` and `reference` are `salmu_jax.models.clip.Embeddings` of the same batch, under the parameters
in training and under those the run started from. A loss that compares the two says so: it is marked
`comparing`. The others take None for `reference`, and cost no forward pass of it: the compiler
drops what nothing reads. Unlearning descends on every loss here, so a loss that is to rise has its
sign turned: `ascent` is the negated contrastive loss.

Below, S is the (B, B) matrix of cosines, p the in-batch matching probabilities softmax(scale S),
over captions for each image and over images for each caption; index 0 marks the reference.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from salmu_jax.models.clip import Embeddings
from salmu_jax.ranges import Margin, Positive, Weight

# loss(z, reference) -> ()
Loss = Callable[[Embeddings, Embeddings | None], jax.Array]


def comparing(loss: Loss) -> Loss:
  """Marks a loss that compares with the reference, and so cannot do without one. A decorator."""
  loss.compares = True
  return loss


def compares(loss: Loss) -> bool:
  """Whether a loss is marked as comparing with the reference."""
  return getattr(loss, "compares", False)


def weighted(*terms: tuple[float, Loss]) -> Loss:
  """The loss sum_k w_k loss_k of pairs (w_k, loss_k); it compares where one of them does."""

  def loss(z, reference=None):
    return sum(weight * term(z, reference) for weight, term in terms)

  return comparing(loss) if any(compares(term) for _, term in terms) else loss


_PRECISION = jax.lax.Precision.HIGHEST


def similarities(image, text):
  """All cosines of a batch. image, text (B, D) unit rows -> (B, B) float32."""
  return jnp.dot(image, text.T, precision=_PRECISION)


def _log_matching(z):
  """log p of captions for each image and of images for each caption: two (B, B)."""
  logits = z.scale * similarities(z.image, z.text)
  return jax.nn.log_softmax(logits, axis=1), jax.nn.log_softmax(logits, axis=0)


def _matching(z):
  """log p of the true pairs: (2, B), by image and by caption."""
  logits = z.scale * similarities(z.image, z.text)
  return jnp.stack([jnp.diagonal(logits) - jax.nn.logsumexp(logits, axis=k) for k in (1, 0)])


def _mismatched(rows):
  """Rows moved on by one: in a shuffled batch, a permutation without fixed points."""
  return jnp.roll(rows, 1, axis=0)


def _mismatched_mean(z):
  """(B,): of each picture, the mean cosine with the captions of the others."""
  cosines = similarities(z.image, z.text)
  return (jnp.sum(cosines, axis=1) - jnp.diagonal(cosines)) / (cosines.shape[0] - 1)


def contrastive(z, reference=None):
  """CLIP's loss: symmetric in-batch InfoNCE (Radford et al. 2021, figure 3)."""
  del reference
  return -jnp.mean(_matching(z))


def sigmoid(z, reference=None):
  """SigLIP's loss: every image with every caption is a yes or a no of its own.

    -(1/B) sum_ij log sigmoid(y_ij (scale S_ij + bias)),    y_ij = 1 for the true pairs, -1 for
    others

  Zhai et al., Sigmoid Loss for Language Image Pre-Training (arXiv 2303.15343), equation 1.
  """
  del reference
  logits = z.scale * similarities(z.image, z.text) + z.bias
  sign = 2 * jnp.eye(logits.shape[0]) - 1
  return -jnp.mean(jnp.sum(jax.nn.log_sigmoid(sign * logits), axis=1))


def contrastive_generic(z, reference=None):
  """CLIP's loss on the same images with their captions free of private values."""
  return contrastive(z._replace(text=z.generic), reference)


def contrastive_shuffled(z, reference=None):
  """CLIP's loss on the same images with each other's captions."""
  return contrastive(z._replace(text=_mismatched(z.text)), reference)


def ascent(z, reference=None):
  """CLIP's loss turned round: descending on it is the negative gradient. Unbounded below."""
  return -contrastive(z, reference)


def bounded_ascent(margin: Margin = 0.0):
  """Ascent on the pairs' similarity that stops pair by pair, where a pair looks mismatched.

    mean_i max(S_ii - t_i, 0),    t_i = mean_{j != i} S0_ij + margin

  A pair at or below its target no longer pulls. The contrastive loss is no base for this: each
  pair's pulls on all others of the batch, and drags them past their targets.
  """

  @comparing
  def loss(z, reference):
    target = _mismatched_mean(reference) + margin
    return jnp.mean(jax.nn.relu(jnp.sum(z.image * z.text, axis=-1) - target))

  return loss


def pair_similarity(z, reference=None):
  """Mean cosine of the pairs. Unbounded below but for -1."""
  del reference
  return jnp.mean(jnp.sum(z.image * z.text, axis=-1))


def zero_similarity(z, reference=None):
  """Mean of S^2 over all B x B: forget images and captions become orthogonal."""
  del reference
  return jnp.mean(jnp.square(similarities(z.image, z.text)))


@comparing
def decoupling(z, reference):
  """MultiDelete's modality decoupling: pairs should look as mismatched pairs did at the start.

    mean (S(u, v) - S0(u, v'))^2,    v' the captions moved on by one row

  Cheng and Amiri, MultiDelete for Multimodal Machine Unlearning (arXiv 2311.12047), section 3.2.
  """
  mismatched = similarities(reference.image, _mismatched(reference.text))
  return jnp.mean(jnp.square(similarities(z.image, z.text) - mismatched))


@comparing
def excluded_pair(z, reference):
  """DELETE: the starting model's matching with the true pair left out is the teacher.

    KL(p0' to p), the mean of both ways, p0' = softmax(scale0 S0, -inf in place of the true pair)

  Zhou et al., Decoupled Distillation to Erase (arXiv 2503.23751). In-batch matching takes the place
  of the paper's classes; the student's softmax is over all captions, the true one included.
  """
  logits = reference.scale * similarities(reference.image, reference.text)
  logits = jnp.where(jnp.eye(logits.shape[0], dtype=bool), -jnp.inf, logits)
  teachers = jax.nn.softmax(logits, axis=1), jax.nn.softmax(logits, axis=0)
  return _divergence(teachers, _log_matching(z))


def npo(beta: Positive = 0.1):
  """Negative preference optimisation: an ascent that slows down where a pair is forgotten.

    (2 / beta) mean softplus(beta (log p - log p0)) over the true pairs, both ways

  Zhang et al., Negative Preference Optimization (arXiv 2404.05868), equation 3; in-batch matching
  probabilities take the place of the likelihoods. At the start its gradient is that of `ascent`.
  """

  @comparing
  def loss(z, reference):
    ratio = _matching(z) - _matching(reference)
    return 2 / beta * jnp.mean(jax.nn.softplus(beta * ratio))

  return loss


def anchored_ascent(anchors: Weight = 1.0, perturbation: Weight = 0.5):
  """L2UL's ascent with adversarial anchors, which need no retain data.

    ascent + anchors x CE(u', V, i') + anchors x CE(v', U, i'),   u'_i = unit(u0_i + e (v0_i' -
    v0_i))

  u' is the starting embedding of an image pushed towards the caption i' of another row, v' likewise
  for captions; both should go on matching what they were pushed to. Cha et al., Learning to Unlearn
  (arXiv 2301.11578), equation 5. There the adversary perturbs pixels; here embeddings, for losses
  see no pixels.
  """

  @comparing
  def loss(z, reference):
    image, text = reference.image, reference.text
    push_text, push_image = _mismatched(text) - text, _mismatched(image) - image
    pushed_image = _unit(image + perturbation * push_text)
    pushed_text = _unit(text + perturbation * push_image)
    to_text = _one_way(z.scale, pushed_image, _mismatched(z.text))
    to_image = _one_way(z.scale, pushed_text, _mismatched(z.image))
    return ascent(z) + anchors * (to_text + to_image)

  return loss


def _one_way(scale, queries, answers):
  """Mean cross-entropy of row i of `queries` with row i of `answers`. (B, D), (B, D) -> ()."""
  return -jnp.mean(jnp.diagonal(jax.nn.log_softmax(scale * similarities(queries, answers), axis=1)))


@comparing
def divergence(z, reference):
  """KL(p0 to p), mean over rows and over both ways: how far the matching moved (CLIPErase,
  SCRUB).
  """
  teachers = tuple(jnp.exp(log_p) for log_p in _log_matching(reference))
  return _divergence(teachers, _log_matching(z))


def _divergence(teachers, students):
  """Mean over both directions and all rows of KL(teacher to student); log p of the students."""
  both = [
    jnp.sum(xlogy(p, p) - p * log_q) / p.shape[0]
    for p, log_q in zip(teachers, students, strict=True)
  ]
  return sum(both) / 2


@comparing
def similarity_retention(z, reference):
  """Mean of (S - S0)^2 over all B x B."""
  moved = similarities(z.image, z.text) - similarities(reference.image, reference.text)
  return jnp.mean(jnp.square(moved))


@comparing
def embedding_retention(z, reference):
  """Mean squared error, over all B x D entries, of u, plus that of v."""
  return sum(jnp.mean(jnp.square(x)) for x in (z.image - reference.image, z.text - reference.text))


@comparing
def retention(z, reference):
  """MultiDelete's knowledge retention: fused and single-mode embeddings stay where they were.

  Mean squared error, over all B x D entries, of the normalised (u + v) / 2, of u and of v.
  Cheng and Amiri, MultiDelete (arXiv 2311.12047), sections 3.3 and 3.4, weights 1.
  """
  fused = jnp.mean(jnp.square(_fuse(z) - _fuse(reference)))
  return fused + embedding_retention(z, reference)


def mismatched_target(margin: Margin = 0.0, softness: Positive = 0.05):
  """Pairs are to look as mismatched pairs did at the start, no more and no less.

    mean_i sqrt((S_ii - t_i)^2 + softness^2) - softness,    t_i = mean_{j != i} S0_ij + margin

  All pairs pull alike until they are near their target, so the last ones are not left behind; one
  that is pushed past it by the others comes back. This project's own.
  """

  @comparing
  def loss(z, reference):
    off = jnp.sum(z.image * z.text, axis=-1) - _mismatched_mean(reference) - margin
    return jnp.mean(jnp.sqrt(jnp.square(off) + softness**2)) - softness

  return loss


@comparing
def component_removed(z, reference):
  """Forget captions go to their old place with the component along their picture's embedding
  removed.

    mean_i (1 - v_i . unit(v0_i - (v0_i . u0_i) u0_i))

  This project's own.
  """
  u, v = reference.image, reference.text
  goal = _unit(v - jnp.sum(u * v, axis=-1, keepdims=True) * u)
  return jnp.mean(1 - jnp.sum(z.text * goal, axis=-1))


@comparing
def text_retention(z, reference):
  """Mean of 1 - cos between each caption and where it was."""
  return jnp.mean(1 - jnp.sum(z.text * reference.text, axis=-1))


@comparing
def surrogate_retention(z, reference):
  """The same of the surrogate captions."""
  return jnp.mean(1 - jnp.sum(z.surrogate * reference.surrogate, axis=-1))


def _fuse(z):
  """The normalised mean of both modes, (B, D)."""
  return _unit((z.image + z.text) / 2)


def _unit(rows):
  return rows * jax.lax.rsqrt(jnp.sum(jnp.square(rows), axis=-1, keepdims=True) + 1e-12)


def matching_accuracy(z):
  """Share of images whose own caption scores above every other of the batch, ()."""
  scores = similarities(z.image, z.text)
  others = jnp.where(jnp.eye(scores.shape[0], dtype=bool), -jnp.inf, scores)
  return jnp.mean((jnp.diagonal(scores) > jnp.max(others, axis=1)).astype(jnp.float32))
